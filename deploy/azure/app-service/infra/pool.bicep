// The web app and its plan.

param token string
param location string
param tags object
param siteName string

param databaseUrl string

@secure()
param databasePassword string

@secure()
param adminToken string

@secure()
param sharedKey string

@description('Always On needs Basic or better.')
param skuName string = 'B1'

@description('Instances; PostgreSQL does the locking between them.')
@minValue(1)
@maxValue(10)
param instances int = 1

var settings = {
  PICLUSTER_DATABASE_URL: databaseUrl
  PGPASSWORD: databasePassword
  PICLUSTER_ADMIN_TOKEN: adminToken
  PICLUSTER_LOG_FORMAT: 'json'
  PICLUSTER_TRUSTED_PROXIES: '10.0.0.0/8,100.64.0.0/10,169.254.0.0/16,172.16.0.0/12'
  SCM_DO_BUILD_DURING_DEPLOYMENT: 'true'
}
var keySettings = empty(sharedKey) ? {} : {
  RPI_APIKEY: sharedKey
}

resource plan 'Microsoft.Web/serverfarms@2023-12-01' = {
  name: 'picluster-${token}'
  location: location
  tags: tags
  kind: 'linux'
  sku: {
    name: skuName
    capacity: instances
  }
  properties: {
    reserved: true
  }
}

resource site 'Microsoft.Web/sites@2023-12-01' = {
  name: siteName
  location: location
  tags: union(tags, {
    'azd-service-name': 'pool'
  })
  kind: 'app,linux'
  properties: {
    serverFarmId: plan.id
    // Boards in the field may know this service by http:// only. Set it once they do not.
    httpsOnly: false
    clientAffinityEnabled: true
    siteConfig: {
      linuxFxVersion: 'PYTHON|3.13'
      appCommandLine: 'python -m picluster serve --host 0.0.0.0 --port $PORT'
      alwaysOn: true // else it sleeps when nobody looks, and leases would not end
      healthCheckPath: '/healthz'
      ftpsState: 'Disabled'
      minTlsVersion: '1.2'
      http20Enabled: true
    }
  }

  resource environment 'config@2023-12-01' = {
    name: 'appsettings'
    properties: union(settings, keySettings)
  }
}

output url string = 'https://${site.properties.defaultHostName}'
