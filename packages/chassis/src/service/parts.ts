// The parts of a service, made and wired; none of them has opened anything yet.
import { type Admin, createAdmin } from '../http/admin.ts';
import { createHttp, type Http } from '../http/app.ts';
import type { EdgeHandler } from '../http/edge.ts';
import type { Relay } from '../outbox/relay.ts';
import { Databases } from './databases.ts';
import { DeclaredQueues } from './declared-queues.ts';
import {
  type Broker,
  CONSUMER_CONCURRENCY,
  type Consumers,
  createBroker,
  createConsumers,
  createRelay,
  type Topology,
  topologyOf,
} from './messaging.ts';
import { Readiness } from './readiness.ts';
import type { Setup } from './setup.ts';
import { createWork, type Work } from './work.ts';

/** `databases`, `queues` and `work` are those of a service with migrations; `topology` and `broker` of one with a broker.ts. */
export interface Parts {
  admin: Admin;
  http: Http;
  edge: EdgeHandler | undefined;
  readiness: Readiness;
  databases: Databases | undefined;
  queues: DeclaredQueues | undefined;
  work: Work | undefined;
  topology: Topology | undefined;
  broker: Broker | undefined;
  /** Of a service with both. */
  consumers: Consumers | undefined;
  relay: Relay | undefined;
  /** Ends what runs in the background, but for consumers and workers. */
  stopping: AbortController;
}

/** @throws {WarrenError} `invalid_route`, `invalid_service` */
export function createParts(setup: Setup, onFatal: (error: Error) => void): Parts {
  const { definition, config, log, metrics, counters, auth } = setup;
  const stopping = new AbortController();
  const topology = topologyOf(setup);
  const consumed = topology?.queues ?? [];
  const names = consumed.map(([queue]) => queue);
  const databases = definition.migrations && new Databases(setup, names.length * CONSUMER_CONCURRENCY);
  const queues = databases && new DeclaredQueues(names, databases.background, log, stopping.signal);
  const broker = topology && createBroker(setup, topology, databases, queues);
  const relay = databases && broker && createRelay(setup, broker, onFatal);
  const connection = broker?.connection;
  const published = topology?.published ?? new Set();
  const work = databases && createWork(setup, databases, { connection, relay, published });
  const consumers = broker && work && createConsumers(setup, consumed, broker, databases, work.background);
  const availability = databases?.availability;
  const readiness = new Readiness({ connection, availability, queues, auth, relay });
  const edge = definition.edge?.(config, { log, count: counters });
  return {
    admin: createAdmin({ registry: metrics.registry, readiness }),
    http: createServiceHttp(setup, edge, broker, work),
    edge,
    readiness,
    databases,
    queues,
    work,
    topology,
    broker,
    consumers,
    relay,
    stopping,
  };
}

function createServiceHttp(
  { definition, config, log, metrics, auth, now }: Setup,
  edge: EdgeHandler | undefined,
  broker: Broker | undefined,
  work: Work | undefined,
): Http {
  const { name, version, routes = [] } = definition;
  return createHttp({
    name,
    version,
    routes,
    ...(edge !== undefined && { edge }),
    ...(work !== undefined && { units: work.requests }),
    ...(broker !== undefined && { requestFor: broker.rpc.requestFor }),
    auth,
    config,
    log,
    metrics,
    now,
  });
}
