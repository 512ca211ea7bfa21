// The pool in Azure Container Apps: two replicas on PostgreSQL behind the platform's proxy.

targetScope = 'subscription'

@minLength(1)
@maxLength(40)
@description('Names everything; azd gives it.')
param environmentName string

param location string

@secure()
@minLength(16)
@maxLength(128)
@description('With three of four: capitals, small letters, digits, others. Azure refuses it otherwise.')
param databasePassword string

@secure()
@minLength(20)
@description('The token of the first admin: 20 characters or more.')
param adminToken string

@secure()
@description('The shared key of the old protocol; empty keeps that door closed.')
param sharedKey string = ''

@description('What is served; azd puts the built image here.')
param image string

var token = uniqueString(subscription().id, environmentName, location)
var group = 'rg-${environmentName}'
var tags = {
  'azd-env-name': environmentName
}

module place '../../modules/place.bicep' = {
  name: 'place'
  params: {
    group: group
    name: 'picluster-${token}'
    location: location
    tags: tags
    databasePassword: databasePassword
  }
}

module pool 'pool.bicep' = {
  name: 'pool'
  scope: resourceGroup(group) // made by then: the address of the database is known
  params: {
    token: token
    location: location
    tags: tags
    databaseUrl: place.outputs.databaseUrl
    databasePassword: databasePassword
    adminToken: adminToken
    sharedKey: sharedKey
    image: image
  }
}

output PICLUSTER_URL string = pool.outputs.url
output AZURE_CONTAINER_REGISTRY_ENDPOINT string = pool.outputs.registry
