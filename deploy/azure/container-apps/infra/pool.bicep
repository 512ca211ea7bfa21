// The container app, its environment, and a registry that only it may pull from.

param token string
param location string
param tags object
param image string

param databaseUrl string

@secure()
param databasePassword string

@secure()
param adminToken string

@secure()
param sharedKey string

@description('Two survive the loss of one; PostgreSQL does the locking between them.')
@minValue(1)
@maxValue(10)
param replicas int = 2

var pullRole = '7f951dda-4ed3-4680-a7ca-43fe172d538d' // AcrPull

var settings = [
  {
    name: 'PICLUSTER_DATABASE_URL'
    value: databaseUrl
  }
  {
    name: 'PGPASSWORD'
    secretRef: 'database-password'
  }
  {
    name: 'PICLUSTER_ADMIN_TOKEN'
    secretRef: 'admin-token'
  }
  {
    name: 'PICLUSTER_TRUSTED_PROXIES'
    value: '10.0.0.0/8,100.64.0.0/10'
  }
]

// A secret must not be empty: without a shared key there is none.
var keySecrets = empty(sharedKey) ? [] : [
  {
    name: 'shared-key'
    value: sharedKey
  }
]
var keySettings = empty(sharedKey) ? [] : [
  {
    name: 'RPI_APIKEY'
    secretRef: 'shared-key'
  }
]

// azd makes the app before it has built the image, with one that stands in for it and answers at another port: the
// platform's own checks do until `azd provision` is run again.
var standsIn = contains(image, 'quickstart')
var probes = standsIn ? [] : [
  {
    type: 'Liveness'
    httpGet: {
      path: '/healthz'
      port: 1337
    }
    periodSeconds: 10
    timeoutSeconds: 5
  }
  {
    type: 'Readiness'
    httpGet: {
      path: '/readyz'
      port: 1337
    }
    periodSeconds: 5
  }
]

resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: 'picluster-${token}'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: 30
  }
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'picluster-${token}'
  location: location
  tags: tags
}

resource registry 'Microsoft.ContainerRegistry/registries@2023-07-01' = {
  name: 'picluster${token}'
  location: location
  tags: tags
  sku: {
    name: 'Basic'
  }
  properties: {
    adminUserEnabled: false
  }
}

resource mayPull 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, identity.id, pullRole)
  scope: registry
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', pullRole)
  }
}

resource environment 'Microsoft.App/managedEnvironments@2024-03-01' = {
  name: 'picluster-${token}'
  location: location
  tags: tags
  properties: {
    appLogsConfiguration: {
      destination: 'log-analytics'
      logAnalyticsConfiguration: {
        customerId: logs.properties.customerId
        sharedKey: logs.listKeys().primarySharedKey
      }
    }
  }
}

resource app 'Microsoft.App/containerApps@2024-03-01' = {
  name: 'picluster-${token}'
  location: location
  tags: union(tags, {
    'azd-service-name': 'pool'
  })
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    environmentId: environment.id
    configuration: {
      activeRevisionsMode: 'Single'
      ingress: {
        external: true
        targetPort: 1337
        transport: 'http'
        allowInsecure: false
        // Who asks stays with one replica: what it has changed is in the next list it reads.
        stickySessions: {
          affinity: 'sticky'
        }
      }
      registries: [
        {
          server: registry.properties.loginServer
          identity: identity.id
        }
      ]
      secrets: concat([
        {
          name: 'database-password'
          value: databasePassword
        }
        {
          name: 'admin-token'
          value: adminToken
        }
      ], keySecrets)
    }
    template: {
      containers: [
        {
          name: 'pool'
          image: image
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
          env: concat(settings, keySettings)
          probes: probes
        }
      ]
      scale: {
        minReplicas: replicas // never to zero: boards report, and leases end, while nobody looks
        maxReplicas: replicas
      }
      terminationGracePeriodSeconds: 10
    }
  }
  dependsOn: [
    mayPull
  ]
}

output url string = 'https://${app.properties.configuration.ingress.fqdn}'
output registry string = registry.properties.loginServer
