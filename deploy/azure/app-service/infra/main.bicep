// The pool in Azure App Service, where the first service used to be: Python on Linux, on PostgreSQL.

targetScope = 'subscription'

@minLength(1)
@maxLength(40)
@description('Names everything; azd gives it.')
param environmentName string

param location string

@secure()
@minLength(16)
param databasePassword string

@secure()
@minLength(20)
@description('The token of the first admin: 20 characters or more.')
param adminToken string

@secure()
@description('The shared key of the old protocol; empty keeps that door closed.')
param sharedKey string = ''

@description('NAME of NAME.azurewebsites.net; empty for a made one. The name of an app that was deleted may be had again.')
param siteName string = ''

var token = uniqueString(subscription().id, environmentName, location)
var tags = {
  'azd-env-name': environmentName
}

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module postgres '../../modules/postgres.bicep' = {
  name: 'postgres'
  scope: group
  params: {
    name: 'picluster-${token}'
    location: location
    tags: tags
    password: databasePassword
  }
}

module pool 'pool.bicep' = {
  name: 'pool'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    databaseUrl: 'postgresql://${postgres.outputs.login}:${uriComponent(databasePassword)}@${postgres.outputs.host}/${postgres.outputs.database}?sslmode=require'
    adminToken: adminToken
    sharedKey: sharedKey
    siteName: empty(siteName) ? 'picluster-${token}' : siteName
  }
}

output PICLUSTER_URL string = pool.outputs.url
