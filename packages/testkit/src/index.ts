export type { CheckName } from './check/names.ts';
export {
  CheckError,
  type CheckOptions,
  type CheckReport,
  type CheckResult,
  type EffectsOptions,
  type MethodOptions,
  type StartOptions,
  type Verdict,
} from './check/options.ts';
export { checkContract } from './check/run.ts';
export { registerCleanup, runCleanups } from './cleanup.ts';
export { type Client, type ClientResponse, client } from './client.ts';
export { eventually, type Patience } from './eventually.ts';
export { startIssuer, type TestIssuer } from './issuer.ts';
export { isRunning, KEPT_SERVICES, type KeptFile, keptServices } from './kept.ts';
export { type WithKeysOptions, withKeys } from './keys.ts';
export { message, type TestMessage } from './message.ts';
export { freePort, freePorts, isTaken } from './ports.ts';
export { createDatabase, databaseExists, databaseUrl, dropDatabase, query } from './postgres/database.ts';
export { type Held, holdCommits } from './postgres/hold.ts';
export type { DatabaseServer, PrivateDatabaseServer } from './postgres/server.ts';
export { startDatabase, startPrivateDatabase } from './postgres/start.ts';
export { type Change, type Watch, watchTransactions } from './postgres/watch.ts';
export { type TestDatabase, type WithDatabaseOptions, withDatabase } from './postgres/with-database.ts';
export { type RunningProcess, type StartProcess, startProcess } from './process.ts';
export { openProxy, type TcpProxy } from './proxy.ts';
export { type Broker, type PrivateBroker, QUORUM_QUEUE_FLUSH_MS } from './rabbitmq/broker.ts';
export {
  type Definitions,
  definitionsPath,
  findDefinitions,
  type Keys,
  type Loaded,
  loadDefinitions,
  platformDefinitions,
} from './rabbitmq/definitions.ts';
export { managementOf } from './rabbitmq/management.ts';
export type { Probe, Recorded } from './rabbitmq/probe.ts';
export { startBroker, startPrivateBroker } from './rabbitmq/start.ts';
export { adminClient, type Vhost } from './rabbitmq/vhost.ts';
export { type TestBroker, type WithBrokerOptions, withBroker } from './rabbitmq/with-broker.ts';
export { environmentOf, type WithReplicasOptions, withReplicas } from './replicas.ts';
