// The metrics every Warren service has, under the names dashboards and alerts rely on.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export type { Registry } from 'prom-client';
export { Counter, Gauge, Histogram } from 'prom-client';

export interface Metrics {
  /** One for each service, so that a test process can run several. */
  registry: Registry;
  httpRequestDuration: Histogram<'method' | 'route' | 'status'>;
  httpMalformed: Counter<'reason'>;
  eventsPublished: Counter<'type' | 'outcome'>;
  eventPublishDuration: Histogram<'type'>;
  eventsUnconsumed: Counter<'type'>;
  eventsConsumed: Counter<'queue' | 'type' | 'outcome'>;
  eventHandlingDuration: Histogram<'queue' | 'type'>;
  eventLag: Histogram<'queue' | 'type'>;
  messagesForged: Counter<'queue' | 'outcome'>;
  outboxPending: Gauge;
  outboxOldestAge: Gauge;
  outboxParked: Gauge;
  outboxHeld: Gauge<'key'>;
  tasksPending: Gauge<'kind'>;
  rpcDuration: Histogram<'method' | 'outcome'>;
  rpcHandlingDuration: Histogram<'method' | 'outcome'>;
  rpcRepliesDropped: Counter;
  dbPoolConnections: Gauge<'state'>;
  databaseConnected: Gauge;
  brokerConnected: Gauge;
}

const FAST = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const LAG = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 86_400];

/**
 * Creates all metrics. Those of parts that the service does not have (HTTP, a database, a broker) are not in its registry, and so not
 * on its `/metrics`.
 */
export function createMetrics(options: {
  service: string;
  version: string;
  http: boolean;
  database: boolean;
  broker: boolean;
}): Metrics {
  const { service, version, http, database, broker } = options;
  const registry = new Registry();
  const registers = (wanted: boolean): Registry[] => (wanted ? [registry] : []);
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: 'build_info',
    help: 'Always 1; the labels are the service and its version.',
    labelNames: ['service', 'version'],
    registers: [registry],
  }).set({ service, version }, 1);

  return {
    registry,
    httpRequestDuration: new Histogram({
      name: 'http_request_duration_seconds',
      help: 'From the arrival of a request to the end of its response; the route is the template such as /users/:id, aliases are one.',
      labelNames: ['method', 'route', 'status'],
      buckets: FAST,
      registers: registers(http),
    }),
    httpMalformed: new Counter({
      name: 'http_malformed_requests_total',
      help: 'Requests refused before they reached a route: invalid HTTP, or a head that is too_large (431) or too_slow (408).',
      labelNames: ['reason'],
      registers: registers(http),
    }),
    eventsPublished: new Counter({
      name: 'events_published_total',
      help: 'Events that the relay published, by outcome: confirmed, failed (it tries again) or parked.',
      labelNames: ['type', 'outcome'],
      registers: registers(database && broker),
    }),
    eventsUnconsumed: new Counter({
      name: 'events_unconsumed_total',
      help: 'Published events that no queue took, as their contract allows (mayGoUnconsumed).',
      labelNames: ['type'],
      registers: registers(database && broker),
    }),
    eventPublishDuration: new Histogram({
      name: 'event_publish_duration_seconds',
      help: 'From the publish of an event to its confirm.',
      labelNames: ['type'],
      buckets: FAST,
      registers: registers(database && broker),
    }),
    eventsConsumed: new Counter({
      name: 'events_consumed_total',
      help: 'Deliveries, by outcome: handled, duplicate, retried or dead.',
      labelNames: ['queue', 'type', 'outcome'],
      registers: registers(broker),
    }),
    eventHandlingDuration: new Histogram({
      name: 'event_handling_duration_seconds',
      help: 'From the arrival of a delivery to the commit of its handler.',
      labelNames: ['queue', 'type'],
      buckets: FAST,
      registers: registers(broker),
    }),
    eventLag: new Histogram({
      name: 'event_lag_seconds',
      help: 'From the time of an event to the commit of its handler.',
      labelNames: ['queue', 'type'],
      buckets: LAG,
      registers: registers(broker),
    }),
    messagesForged: new Counter({
      name: 'messages_forged_total',
      help: 'Messages from another broker user than their contract names: refused, or accepted (PRODUCER_CHECK=report). Of replies, the queue is SERVICE.reply.',
      labelNames: ['queue', 'outcome'],
      registers: registers(broker),
    }),
    outboxPending: new Gauge({
      name: 'outbox_pending',
      help: 'Events committed and not yet confirmed by the broker; above 50,000 an estimate.',
      registers: registers(database && broker),
    }),
    outboxOldestAge: new Gauge({
      name: 'outbox_oldest_age_seconds',
      help: 'Age of the oldest event in the outbox; 0 when it is empty.',
      registers: registers(database && broker),
    }),
    outboxParked: new Gauge({
      name: 'outbox_parked',
      help: 'Events that the broker refused for good and that wait for an operator.',
      registers: registers(database && broker),
    }),
    outboxHeld: new Gauge({
      name: 'outbox_held',
      help: 'Events held back because a queue rejects those of their routing key; 0 when it accepts them again.',
      labelNames: ['key'],
      registers: registers(database && broker),
    }),
    tasksPending: new Gauge({
      name: 'tasks_pending',
      help: 'Tasks that are due, by kind, with those that failed and wait for another attempt.',
      labelNames: ['kind'],
      registers: registers(database),
    }),
    rpcDuration: new Histogram({
      name: 'rpc_duration_seconds',
      help: 'From a request over the broker to its reply or deadline, in the service that sends it.',
      labelNames: ['method', 'outcome'],
      buckets: FAST,
      registers: registers(broker),
    }),
    rpcHandlingDuration: new Histogram({
      name: 'rpc_handling_duration_seconds',
      help: 'From the arrival of a request over the broker to its reply, in the service that handles it.',
      labelNames: ['method', 'outcome'],
      buckets: FAST,
      registers: registers(broker),
    }),
    rpcRepliesDropped: new Counter({
      name: 'rpc_replies_dropped_total',
      help: 'Replies that match no pending request: they came too late, or were never requested.',
      registers: registers(broker),
    }),
    dbPoolConnections: new Gauge({
      name: 'db_pool_connections',
      help: 'Connections to the database, by state: used, idle, or waiting for one; of both pools, without the one of the relay.',
      labelNames: ['state'],
      registers: registers(database),
    }),
    databaseConnected: new Gauge({
      name: 'database_connected',
      help: '1 while the database of the service is usable: reachable, responding, writable, with free disk space.',
      registers: registers(database),
    }),
    brokerConnected: new Gauge({
      name: 'broker_connected',
      help: '1 while the service is connected to its broker, also when the broker blocks publishers.',
      registers: registers(broker),
    }),
  };
}
