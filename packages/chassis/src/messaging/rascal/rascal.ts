// The types of Rascal 21, as far as the chassis uses it; Rascal itself is in `rascal-patches.ts`. It is CommonJS and has no types of
// its own; those on npm are eleven majors behind. This directory is all that knows private parts of Rascal and amqplib, so
// package.json names exact versions of both: read `rascal-patches.ts` and `amqplib-patches.ts` before you change one.
// https://github.com/onebeyond/rascal
import type { EventEmitter } from 'node:events';
import type { Channel, Connection } from 'amqplib/callback_api';

export interface ExchangeConfig {
  type?: 'topic' | 'direct' | 'fanout' | 'headers';
  /** Declare it. */
  assert?: boolean;
  /** Check that it exists, without declaring it. */
  check?: boolean;
  options?: { durable?: boolean; alternateExchange?: string; arguments?: Record<string, unknown> };
}

export interface QueueConfig {
  assert?: boolean;
  check?: boolean;
  options?: {
    durable?: boolean;
    exclusive?: boolean;
    autoDelete?: boolean;
    arguments?: Record<string, unknown>;
  };
}

export interface BindingConfig {
  source: string;
  destination: string;
  destinationType?: 'queue' | 'exchange';
  bindingKey?: string;
}

export interface PublicationConfig {
  exchange: string;
  routingKey?: string;
  confirm?: boolean;
  timeout?: number;
  options?: { persistent?: boolean; mandatory?: boolean };
}

export interface SubscriptionConfig {
  queue: string;
  /** Unacknowledged messages that the broker delivers at most. */
  prefetch?: number;
  contentType?: string;
  /** ms to wait for unacknowledged messages when the subscription is cancelled. */
  closeTimeout?: number;
  retry?: false | { min?: number; max?: number; factor?: number; strategy?: 'exponential' | 'linear' };
}

export interface VhostConfig {
  exchanges?: Record<string, ExchangeConfig>;
  queues?: Record<string, QueueConfig>;
  bindings?: Record<string, BindingConfig>;
  publications?: Record<string, PublicationConfig>;
  subscriptions?: Record<string, SubscriptionConfig>;
  concurrency?: number;
}

/** Two entries, one RabbitMQ vhost: a broker that blocks publishers must not block the consumers that would relieve it. */
export interface BrokerConfig {
  vhosts: { publish: VhostConfig; consume?: VhostConfig };
}

export interface RascalMessage {
  content: Buffer;
  fields: {
    routingKey: string;
    exchange: string;
    redelivered: boolean;
    consumerTag: string;
    deliveryTag: number;
  };
  properties: {
    messageId?: string;
    type?: string;
    timestamp?: number;
    appId?: string;
    correlationId?: string;
    contentType?: string;
    contentEncoding?: string;
    priority?: number;
    replyTo?: string;
    expiration?: string;
    userId?: string;
    headers?: Record<string, unknown>;
  };
}

/** No error acknowledges; an error with `nack` dead-letters. */
export type AckOrNack = (error?: Error, recovery?: { strategy: 'nack'; requeue?: boolean }[]) => void;

type Callback<T> = (error: Error | null | undefined, result: T) => void;

export interface RascalSession extends EventEmitter {
  name: string;
  cancel(done: Callback<void>): void;
  /** The channel it consumes on; see `exposeChannels`. */
  channel?: Channel;
  /** Lowers the number of deliveries that a cancelled session waits for. */
  _decrementUnacknowledgeMessageCount?(consumerTag: string): void;
}

/** The callback API: the one with promises hides `keepActive`. */
export interface RascalBroker extends EventEmitter {
  /** A timer that keeps the process alive; a failed shutdown leaves it behind. */
  keepActive?: NodeJS.Timeout;
  connect(vhost: string, done: Callback<Connection>): void;
  subscribe(name: string, overrides: Partial<SubscriptionConfig>, done: Callback<RascalSession>): void;
  shutdown(done: Callback<void>): void;
}

/** One connection of a broker. */
export interface RascalVhost extends EventEmitter {
  getChannel(done: Callback<Channel>): void;
}

/** Rascal passes these on to the vhosts of a broker. It reads only `counters`; `onVhost` is ours, see `exposeVhosts`. */
export interface Components {
  onVhost?(vhost: RascalVhost): void;
}

export interface Rascal {
  /** On an error the callback gets the half-made broker, too. */
  Broker: {
    create(config: object, components: Components, done: Callback<RascalBroker | undefined>): void;
  };
}

/** A callback call of Rascal or amqplib as a promise. */
export const promised = <T>(start: (done: Callback<T>) => void): Promise<T> =>
  new Promise((resolve, reject) => start((error, result) => (error ? reject(error) : resolve(result))));
