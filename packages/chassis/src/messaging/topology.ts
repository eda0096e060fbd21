// The names and arguments of everything a service has on the broker, said once. A service's broker.ts is Rascal
// configuration; these helpers expand the parts that repeat.
import type { AnyEvent, AnyMethod } from '@warren/events';
import type {
  BindingConfig,
  ExchangeConfig,
  PublicationConfig,
  QueueConfig,
  SubscriptionConfig,
  VhostConfig,
} from './rascal/rascal.ts';

/** What of a service's configuration shapes its topology. */
export interface BrokerSettings {
  /** The retry ladder: how long a failed message waits before each further attempt. */
  retryDelays: readonly RetryDelay[];
  /** Names what belongs to one connection of one replica: no two ever have the same. */
  instance: string;
}

export interface RetryDelay {
  /** Its level: part of the queue's name and the routing key, e.g. `10s`. */
  name: string;
  ms: number;
}

/** Exchanges that belong to the platform: a service sees that they are there. */
export const EVENTS = 'events';
export const RPC = 'rpc';
export const UNROUTED = 'unrouted';

/** Deliveries of one message before the broker takes it for one that crashes its consumer. */
export const DELIVERY_LIMIT = 10;

/** Peeking at a dead letter delivers it and gives it back; RabbitMQ 4 would drop it after 20 such deliveries. */
const DLQ_DELIVERY_LIMIT = 1_000_000;

/** Messages in flight to a consumer: a batch, and the next one. A service that needs another number writes it into its broker.ts. */
const PREFETCH = 200;
/** More than one requester's share (rpc/server.ts): those of others are behind the flood of one, and must be seen to be handled. */
const REQUEST_PREFETCH = 1_100;

const DEFAULT_DELAYS: readonly RetryDelay[] = [
  { name: '1s', ms: 1_000 },
  { name: '10s', ms: 10_000 },
  { name: '1m', ms: 60_000 },
];

/** The settings a service runs with when its environment says nothing else; the instance is each replica's own. */
export const defaultBrokerSettings: BrokerSettings = { retryDelays: DEFAULT_DELAYS, instance: 'INSTANCE' };

export const retryExchange = (service: string) => `${service}.retry`;
export const returnExchange = (service: string) => `${service}.return`;
const retryQueue = (service: string, level: string) => `${service}.retry.${level}`;
export const deadLetterQueue = (queue: string) => `${queue}.dlq`;
/** A consumer's queue: `SERVICE.TYPE`, e.g. `session.user.created`. */
export const workQueueName = (service: string, event: AnyEvent) => `${service}.${event.type}`;
/** Where the requests to a service wait; also the name of its subscription. */
export const requestQueue = (service: string) => `${service}.rpc`;
/** The subscription to the replies; its queue is each connection's own. */
export const replySubscription = (service: string) => `${service}.reply`;

/** What the helpers give: parts of a Rascal vhost. */
export type Parts = Required<Pick<VhostConfig, 'exchanges' | 'queues' | 'bindings' | 'subscriptions'>>;

/** The shared exchanges, checked and not declared. */
export function sharedExchanges(): Record<string, ExchangeConfig> {
  return {
    [EVENTS]: { type: 'topic', assert: false, check: true },
    [RPC]: { type: 'topic', assert: false, check: true },
  };
}

/** The publications of these events: name and routing key are one. */
export function publications(...events: AnyEvent[]): Record<string, PublicationConfig> {
  return Object.fromEntries(
    events.map(({ routingKey }) => [
      routingKey,
      { exchange: EVENTS, routingKey, options: { persistent: true, mandatory: true } },
    ]),
  );
}

/**
 * Everything a service needs to hear these events: a quorum queue and a dead-letter queue for each, and the service's own
 * retry ladder.
 * @example
 * consume: consumes('session', [userCreated], settings)
 *
 * A work queue dead-letters, at least once, to its own DLQ; a retry waits in `SERVICE.retry.LEVEL` until its TTL is over
 * and comes back through `SERVICE.return` to the one queue named in its CC header.
 * No queue has a maximum length: a full one would refuse the publish to all.
 */
export function consumes(
  service: string,
  events: readonly AnyEvent[],
  { retryDelays }: BrokerSettings,
): Parts {
  const exchanges: Record<string, ExchangeConfig> = {
    ...sharedExchanges(),
    [retryExchange(service)]: { type: 'direct' },
    [returnExchange(service)]: { type: 'direct' },
  };
  const queues: Record<string, QueueConfig> = {};
  const bindings: Record<string, BindingConfig> = {};
  const subscriptions: Record<string, SubscriptionConfig> = {};
  const bind = (...of: Parameters<typeof binding>) => {
    const [name, config] = binding(...of);
    bindings[name] = config;
  };

  for (const event of events) {
    const queue = workQueueName(service, event);
    const dlq = deadLetterQueue(queue);
    queues[queue] = workQueue(service, dlq);
    queues[dlq] = quorum({ 'x-delivery-limit': DLQ_DELIVERY_LIMIT });
    bind(EVENTS, queue, event.routingKey);
    bind(returnExchange(service), queue, queue);
    bind(returnExchange(service), dlq, dlq);
    subscriptions[queue] = { queue, prefetch: PREFETCH };
  }
  for (const { name } of retryDelays) {
    queues[retryQueue(service, name)] = delayQueue(service);
    bind(retryExchange(service), retryQueue(service, name), name);
  }
  return { exchanges, queues, bindings, subscriptions };
}

/**
 * Everything a service needs to serve these methods: one quorum queue for all of them and all replicas. It has no dead-letter
 * queue: whoever asked does not wait that long.
 * @example
 * consume: combine(consumes('order', [userCreated], settings), serves('order', [listOrders]))
 */
export function serves(service: string, methods: readonly AnyMethod[]): Parts {
  const queue = requestQueue(service);
  return {
    exchanges: sharedExchanges(),
    queues: { [queue]: quorum({ 'x-delivery-limit': DELIVERY_LIMIT }) },
    bindings: Object.fromEntries(methods.map(({ routingKey }) => binding(RPC, queue, routingKey))),
    subscriptions: { [queue]: { queue, prefetch: REQUEST_PREFETCH } },
  };
}

/**
 * Everything a service needs to ask others: a queue for the replies, which lives as long as the connection that declared it.
 * @example
 * consume: receivesReplies('gateway', settings)
 */
export function receivesReplies(service: string, { instance }: BrokerSettings): Parts {
  const queue = `${replySubscription(service)}.${instance}`;
  return {
    exchanges: sharedExchanges(),
    queues: {
      [queue]: { options: { durable: false, exclusive: true, arguments: { 'x-queue-type': 'classic' } } },
    },
    bindings: Object.fromEntries([binding(RPC, queue, queue)]),
    subscriptions: { [replySubscription(service)]: { queue, prefetch: PREFETCH } },
  };
}

/** One vhost entry of several parts; what two of them name is declared once. */
export function combine(...parts: readonly Partial<Parts>[]): Parts {
  const union = <Part extends keyof Parts>(part: Part): Parts[Part] =>
    Object.assign({}, ...parts.map((each) => each[part]));
  return {
    exchanges: union('exchanges'),
    queues: union('queues'),
    bindings: union('bindings'),
    subscriptions: union('subscriptions'),
  };
}

const binding = (source: string, destination: string, bindingKey: string): [string, BindingConfig] => [
  `${source}[${bindingKey}] -> ${destination}`,
  { source, destination, bindingKey },
];

const quorum = (more: Record<string, unknown> = {}): QueueConfig => ({
  options: { durable: true, arguments: { 'x-queue-type': 'quorum', ...more } },
});

const workQueue = (service: string, dlq: string) =>
  quorum({
    'x-delivery-limit': DELIVERY_LIMIT,
    'x-dead-letter-exchange': returnExchange(service),
    'x-dead-letter-routing-key': dlq,
    'x-dead-letter-strategy': 'at-least-once',
    'x-overflow': 'reject-publish', // without it, at-least-once is silently at-most-once
  });

// The TTL is each message's own, so that it can have jitter; no dead-letter key, so that the message keeps its CC.
const delayQueue = (service: string) =>
  quorum({
    'x-dead-letter-exchange': returnExchange(service),
    'x-dead-letter-strategy': 'at-least-once',
    'x-overflow': 'reject-publish',
  });
