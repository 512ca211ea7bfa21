// PostgreSQL Flexible Server for one pool. Commits are on the disk before they are acknowledged, and with a standby in another
// zone on two, so a fail-over loses no lease.

param name string
param location string
param tags object

@description('The login that the pool uses.')
param login string = 'picluster'

@secure()
param password string

@description('ZoneRedundant needs a General Purpose size and a region with zones.')
@allowed(['Disabled', 'SameZone', 'ZoneRedundant'])
param highAvailability string = 'Disabled'

param skuName string = 'Standard_B1ms'

@allowed(['Burstable', 'GeneralPurpose', 'MemoryOptimized'])
param skuTier string = 'Burstable'

resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2024-08-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: skuName
    tier: skuTier
  }
  properties: {
    version: '17'
    administratorLogin: login
    administratorLoginPassword: password
    storage: {
      storageSizeGB: 32
    }
    backup: {
      backupRetentionDays: 14
    }
    highAvailability: {
      mode: highAvailability
    }
  }

  resource database 'databases@2024-08-01' = {
    name: 'picluster'
    properties: {
      charset: 'UTF8' // sorted as the server likes: the service asks it to sort numbers alone
    }
  }

  // The addresses 0.0.0.0 to 0.0.0.0 stand for all that is inside Azure, other customers' machines too: there the
  // password alone keeps them out. Nobody outside of Azure is let in.
  resource fromAzure 'firewallRules@2024-08-01' = {
    name: 'azure-services'
    properties: {
      startIpAddress: '0.0.0.0'
      endIpAddress: '0.0.0.0'
    }
    dependsOn: [
      database // the server does one thing at a time, and refuses the other
    ]
  }
}

output host string = server.properties.fullyQualifiedDomainName
output database string = server::database.name
output login string = login
