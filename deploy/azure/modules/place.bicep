// Where a pool is, whatever serves it: a resource group, and PostgreSQL in it.

targetScope = 'subscription'

param group string
param name string
param location string
param tags object

@secure()
param databasePassword string

resource itself 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: group
  location: location
  tags: tags
}

module postgres 'postgres.bicep' = {
  name: 'postgres'
  scope: itself
  params: {
    name: name
    location: location
    tags: tags
    password: databasePassword
  }
}

@description('Without its password: outputs are kept where many can read them.')
output databaseUrl string = 'postgresql://${postgres.outputs.login}@${postgres.outputs.host}/${postgres.outputs.database}?sslmode=require'
