// The messaging of a service: its connection to the broker, requests over it, its consumers, and the relay of its outbox.
import { randomBytes } from 'node:crypto';
import type { AnyEvent } from '@warren/events';
import type { UnitsOfWork } from '../context.ts';
import { type BrokerDefinition, eventQueues, replyQueues, versionsOf } from '../messaging/broker.ts';
import { type BrokerState, Messaging } from '../messaging/connection.ts';
import { Consumer } from '../messaging/consumer.ts';
import { FailedMessagePublisher } from '../messaging/failed-message-publisher.ts';
import { bindHandlers } from '../messaging/handlers.ts';
import { Intake } from '../messaging/intake.ts';
import { Producers } from '../messaging/producers.ts';
import { reportTo } from '../messaging/reports.ts';
import { ladderOf } from '../messaging/retry-delays.ts';
import { rascalConfig } from '../messaging/topology.ts';
import { Relay } from '../outbox/relay.ts';
import type { ReadContext } from '../request/context.ts';
import { createRpc, type Rpc } from '../rpc/rpc.ts';
import { bindMethods } from '../rpc/serve.ts';
import type { Databases } from './databases.ts';
import type { DeclaredQueues } from './declared-queues.ts';
import { countingHooks } from './relay-hooks.ts';
import type { Setup } from './setup.ts';

/** Transactions at once for each queue, if batches are slow or messages are handled alone. */
export const CONSUMER_CONCURRENCY = 5;
/** Time for a handler. After it, its transaction is cancelled and the event retried. */
const HANDLER_TIMEOUT_MS = 30_000;
/** RPC requests at once in a service without a database; one with a database leaves half of its connections to HTTP. */
const RPC_CONCURRENCY = 20;

/** What broker.ts declares. */
export interface Topology {
  definition: BrokerDefinition;
  /** The queues of events that this service consumes, by name. */
  queues: ReturnType<typeof eventQueues>;
  /** Routing keys of the events that it publishes. */
  published: ReadonlySet<string>;
}

/** @returns undefined in a service without messaging */
export function topologyOf({ definition: { broker } }: Setup): Topology | undefined {
  if (broker === undefined) return undefined;
  return {
    definition: broker,
    queues: eventQueues(broker),
    published: new Set(Object.keys(broker.vhosts.publish.publications ?? {})),
  };
}

export interface Broker {
  connection: Messaging;
  producers: Producers;
  rpc: Rpc;
}

/** Makes the connection and what goes over it in every service with messaging; `connection.start()` opens it. */
export function createBroker(
  { definition, config, log, metrics, auth, now }: Setup,
  topology: Topology,
  databases: Databases | undefined,
  queues: DeclaredQueues | undefined,
): Broker {
  const { name, methods = {} } = definition;
  const url = config.AMQP_URL as string;
  const onState: ((state: BrokerState) => void)[] = [
    (state) => metrics.brokerConnected.set(state === 'connected' || state === 'blocked' ? 1 : 0),
  ];
  metrics.brokerConnected.set(0);
  const producers = new Producers({
    service: name,
    url,
    check: config.PRODUCER_CHECK,
    operators: config.OPERATORS,
    log,
    metrics,
  });
  const connection = new Messaging({
    url,
    name: `${name} ${config.INSTANCE}`,
    // A random part: the broker keeps exclusive queues of a lost connection until it notices the loss.
    config: () =>
      rascalConfig(topology.definition, {
        retryDelays: config.RETRY_DELAYS,
        instance: `${config.INSTANCE}.${randomBytes(4).toString('hex')}`,
      }),
    log,
    onDeclared: async () => queues?.remember(),
    onState: (state) => {
      for (const listener of onState) listener(state);
    },
  });
  const rpc = createRpc(connection, {
    service: name,
    receivesReplies: replyQueues(topology.definition).length > 0,
    methods: bindMethods(topology.definition, methods),
    producers,
    auth,
    concurrency: databases ? Math.ceil(config.DATABASE_POOL / 2) : RPC_CONCURRENCY,
    context: { database: databases?.requests.kysely as ReadContext['database'], config, now },
    log,
    metrics,
  });
  onState.push((state) => rpc.onBrokerState(state));
  return { connection, producers, rpc };
}

export interface Consumers {
  intake: Intake;
  consumers: readonly Consumer[];
  failedMessages: FailedMessagePublisher;
}

/** One consumer for each queue of events; they follow the availability of the database. */
export function createConsumers(
  { definition, config, log, metrics, now }: Setup,
  queues: Topology['queues'],
  { connection, producers }: Broker,
  { availability }: Databases,
  units: UnitsOfWork,
): Consumers {
  const { name, version, handlers = {} } = definition;
  const intake = new Intake({
    limit: (queue, prefetch) => connection.limit(queue, prefetch),
    settled: () => connection.settled(),
  });
  availability.onChange((available) => (available ? intake.resume() : intake.suspend()));
  const failedMessages = new FailedMessagePublisher({
    service: name,
    user: producers.user,
    connect: () => connection.connect(),
    onMissing: () => connection.checkTopology(),
    replica: { instance: config.INSTANCE, version },
  });
  const consumers = queues.map(([queue, declared]) => {
    const consumer = new Consumer({
      queue,
      handlers: bindHandlers(declared, handlers[queue]),
      units,
      availability,
      intake,
      failedMessages,
      producers,
      deliveryLimit: declared.redeliveries.limit,
      retryDelays: ladderOf(declared.retry, config.RETRY_DELAYS),
      concurrency: CONSUMER_CONCURRENCY,
      retention: config.INBOX_RETENTION,
      timeout: HANDLER_TIMEOUT_MS,
      log,
      report: reportTo(metrics, { queue, type: (versionsOf(declared)[0] as AnyEvent).type }),
      now,
    });
    connection.subscribe(queue, (session, _, releasing) => consumer.attach(session, releasing));
    return consumer;
  });
  return { intake, consumers, failedMessages };
}

export function createRelay(
  { definition, config, log, metrics }: Setup,
  { connection, producers }: Broker,
  onFatal: (error: Error) => void,
): Relay {
  return new Relay({
    service: definition.name,
    user: producers.user,
    databaseUrl: config.DATABASE_URL as string,
    connect: () => connection.connect(),
    connected: () => connection.connected(),
    onBlocked: (blocked: boolean, reason?: string) => connection.blocked(blocked, reason),
    onFatal,
    log,
    hooks: countingHooks(metrics),
  });
}
