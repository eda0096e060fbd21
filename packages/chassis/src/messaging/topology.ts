// The names and arguments of everything a service has on the broker. A broker.ts declares it (broker.ts); this expands the
// declaration to Rascal configuration.
import type { AnyEvent } from '@warren/events';
import {
  type BrokerDefinition,
  type EventQueue,
  eventQueues,
  type RequestQueue,
  replyQueues,
  requestQueues,
  versionsOf,
} from './broker.ts';
import type {
  BindingConfig,
  BrokerConfig,
  ExchangeConfig,
  PublicationConfig,
  QueueConfig,
  SubscriptionConfig,
  VhostConfig,
} from './rascal/rascal.ts';
import { ladderOf, parseDelays, RETRY_DELAYS, type RetryDelay } from './retry-delays.ts';

/** The settings of the environment that the topology depends on. */
export interface BrokerSettings {
  retryDelays: readonly RetryDelay[];
  /** Names what belongs to one connection of one replica: no two ever have the same. */
  instance: string;
}

/** Exchanges that belong to the platform: a service checks that they exist. */
export const EVENTS = 'events';
export const RPC = 'rpc';
export const UNROUTED = 'unrouted';

/** Peeking at a dead letter delivers it and requeues it; RabbitMQ 4 would drop it after 20 such deliveries. */
const DLQ_DELIVERY_LIMIT = 1_000_000;

/** The settings a service runs with when its environment sets nothing; the instance is each replica's own. */
export const defaultBrokerSettings: BrokerSettings = {
  retryDelays: parseDelays(RETRY_DELAYS.default) ?? [],
  instance: 'INSTANCE',
};

export const retryExchange = (service: string) => `${service}.retry`;
export const returnExchange = (service: string) => `${service}.return`;
export const deadLetterQueue = (queue: string) => `${queue}.dlq`;
/** Where the requests to a service wait; also the name of its subscription. */
export const requestQueue = (service: string) => `${service}.rpc`;
/** The subscription to the replies; its queue is each connection's own. */
export const replySubscription = (service: string) => `${service}.reply`;

/** Expands a broker.ts to Rascal configuration. */
export function rascalConfig(
  broker: BrokerDefinition,
  settings: BrokerSettings = defaultBrokerSettings,
): BrokerConfig {
  const { publish, consume } = broker.vhosts;
  const { publications } = publish;
  return {
    vhosts: {
      publish: {
        exchanges: sharedExchanges(),
        ...(publications !== undefined && { publications: publicationsOf(publications) }),
      },
      ...(consume !== undefined && { consume: consumeVhost(broker, settings) }),
    },
  };
}

/** The shared exchanges, checked and not declared. */
const sharedExchanges = (): Record<string, ExchangeConfig> => ({
  [EVENTS]: { type: 'topic', assert: false, check: true },
  [RPC]: { type: 'topic', assert: false, check: true },
});

const publicationsOf = (events: Readonly<Record<string, AnyEvent>>): Record<string, PublicationConfig> =>
  Object.fromEntries(
    Object.keys(events).map((routingKey) => [
      routingKey,
      { exchange: EVENTS, routingKey, options: { persistent: true, mandatory: true } },
    ]),
  );

/** What one queue needs on the broker. */
interface Part {
  queues: Record<string, QueueConfig>;
  bindings: BindingConfig[];
  subscriptions?: Record<string, SubscriptionConfig>;
}

/**
 * A work queue dead-letters, at least once, to its own DLQ; a retry waits in `SERVICE.retry.LEVEL` until its TTL is over and
 * returns through `SERVICE.return` to the one queue named in its CC header.
 * No queue has a maximum length: a full one would refuse the publish to all.
 */
function consumeVhost(broker: BrokerDefinition, { retryDelays, instance }: BrokerSettings): VhostConfig {
  const { service } = broker;
  const events = eventQueues(broker);
  const levels = new Set(
    events.flatMap(([, { retry }]) => ladderOf(retry, retryDelays).map(({ name }) => name)),
  );
  const parts: Part[] = [
    ...events.map(([queue, declared]) => workQueue(service, queue, declared)),
    ...[...levels].map((level) => delayQueue(service, level)),
    ...requestQueues(broker).map(([queue, declared]) => queueOfRequests(queue, declared)),
    ...replyQueues(broker).map(([name, { prefetch }]) => queueOfReplies(name, instance, prefetch)),
  ];
  return {
    exchanges: {
      ...sharedExchanges(),
      ...(events.length > 0 && {
        [retryExchange(service)]: { type: 'direct' },
        [returnExchange(service)]: { type: 'direct' },
      }),
    },
    queues: Object.assign({}, ...parts.map(({ queues }) => queues)),
    bindings: Object.fromEntries(
      parts
        .flatMap(({ bindings }) => bindings)
        .map((each) => [`${each.source}[${each.bindingKey}] -> ${each.destination}`, each]),
    ),
    subscriptions: Object.assign({}, ...parts.map(({ subscriptions }) => subscriptions)),
  };
}

function workQueue(service: string, queue: string, declared: EventQueue): Part {
  const { prefetch, redeliveries, deadLetters } = declared;
  return {
    queues: {
      [queue]: quorum({
        'x-delivery-limit': redeliveries.limit,
        'x-dead-letter-exchange': returnExchange(service),
        'x-dead-letter-routing-key': deadLetters,
        'x-dead-letter-strategy': 'at-least-once',
        'x-overflow': 'reject-publish', // without it, at-least-once is silently at-most-once
      }),
      [deadLetters]: quorum({ 'x-delivery-limit': DLQ_DELIVERY_LIMIT }),
    },
    bindings: [
      ...versionsOf(declared).map(({ routingKey }) => binding(EVENTS, queue, routingKey)),
      binding(returnExchange(service), queue, queue),
      binding(returnExchange(service), deadLetters, deadLetters),
    ],
    subscriptions: { [queue]: { queue, prefetch } },
  };
}

// The TTL is each message's own, so that it can have jitter; no dead-letter key, so that the message keeps its CC.
function delayQueue(service: string, level: string): Part {
  const queue = `${service}.retry.${level}`;
  return {
    queues: {
      [queue]: quorum({
        'x-dead-letter-exchange': returnExchange(service),
        'x-dead-letter-strategy': 'at-least-once',
        'x-overflow': 'reject-publish',
      }),
    },
    bindings: [binding(retryExchange(service), queue, level)],
  };
}

const queueOfRequests = (queue: string, { methods, prefetch, redeliveries }: RequestQueue): Part => ({
  queues: { [queue]: quorum({ 'x-delivery-limit': redeliveries.limit }) },
  bindings: Object.keys(methods).map((routingKey) => binding(RPC, queue, routingKey)),
  subscriptions: { [queue]: { queue, prefetch } },
});

function queueOfReplies(name: string, instance: string, prefetch: number): Part {
  const queue = `${name}.${instance}`;
  return {
    queues: {
      [queue]: { options: { durable: false, exclusive: true, arguments: { 'x-queue-type': 'classic' } } },
    },
    bindings: [binding(RPC, queue, queue)],
    subscriptions: { [name]: { queue, prefetch } },
  };
}

const binding = (source: string, destination: string, bindingKey: string): BindingConfig => ({
  source,
  destination,
  bindingKey,
});

const quorum = (more: Record<string, unknown>): QueueConfig => ({
  options: { durable: true, arguments: { 'x-queue-type': 'quorum', ...more } },
});
