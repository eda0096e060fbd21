// The names and arguments of everything a service has on the broker, said once. A service's broker.ts is Rascal
// configuration; these helpers expand the parts that repeat.
import type { AnyEvent } from '@warren/contracts';
import type {
  BindingConfig,
  ExchangeConfig,
  PublicationConfig,
  QueueConfig,
  SubscriptionConfig,
  VhostConfig,
} from './rascal.ts';

/** What of a service's configuration shapes its topology. */
export interface BrokerSettings {
  /** The retry ladder: how long a failed message waits before each further attempt. */
  retryDelays: readonly RetryDelay[];
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
const DELIVERY_LIMIT = 10;

/** Peeking at a dead letter delivers it and gives it back; RabbitMQ 4 would drop it after 20 such deliveries. */
const PEEKS = 1_000_000;

/** Messages in a consumer's hands at once; a service that needs another number writes it into its broker.ts. */
const PREFETCH = 100;

const DEFAULT_DELAYS: readonly RetryDelay[] = [
  { name: '1s', ms: 1_000 },
  { name: '10s', ms: 10_000 },
  { name: '1m', ms: 60_000 },
];

/** The settings a service runs with when its environment says nothing else. */
export const defaultBrokerSettings: BrokerSettings = { retryDelays: DEFAULT_DELAYS };

export const retryExchange = (service: string) => `${service}.retry`;
export const returnExchange = (service: string) => `${service}.return`;
const retryQueue = (service: string, level: string) => `${service}.retry.${level}`;
export const deadLetterQueue = (queue: string) => `${queue}.dlq`;
/** A consumer's queue: `SERVICE.TYPE`, e.g. `session.user.created`. */
export const workQueueName = (service: string, event: AnyEvent) => `${service}.${event.type}`;

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
      { exchange: EVENTS, routingKey, options: { persistent: true, mandatory: false } },
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
): Required<Pick<VhostConfig, 'exchanges' | 'queues' | 'bindings' | 'subscriptions'>> {
  const exchanges: Record<string, ExchangeConfig> = {
    ...sharedExchanges(),
    [retryExchange(service)]: { type: 'direct' },
    [returnExchange(service)]: { type: 'direct' },
  };
  const queues: Record<string, QueueConfig> = {};
  const bindings: Record<string, BindingConfig> = {};
  const subscriptions: Record<string, SubscriptionConfig> = {};
  const bind = (source: string, destination: string, bindingKey: string) => {
    bindings[`${source}[${bindingKey}] -> ${destination}`] = { source, destination, bindingKey };
  };

  for (const event of events) {
    const queue = workQueueName(service, event);
    const dlq = deadLetterQueue(queue);
    queues[queue] = workQueue(service, dlq);
    queues[dlq] = quorum({ 'x-delivery-limit': PEEKS });
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
