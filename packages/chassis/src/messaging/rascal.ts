// Rascal 21, as far as the chassis uses it. It is CommonJS and brings no types; those on npm are eleven majors behind.
// https://github.com/onebeyond/rascal

import type { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';
import type { Channel, Connection } from 'amqplib/callback_api';
import { socketOf } from '../socket.ts';
import { gatherWrites } from './gather.ts';

export interface ExchangeConfig {
  type?: 'topic' | 'direct' | 'fanout' | 'headers';
  /** Declare it. */
  assert?: boolean;
  /** Only see that it is there. */
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
  /** How many unacknowledged messages the broker hands over. */
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

/** Two entries, one RabbitMQ vhost: a broker that blocks publishers must not stop the consumers that would relieve it. */
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
  /** What it consumes on; see `withChannels`. */
  channel?: Channel;
  /** A session that is cancelled waits for what it has delivered. */
  _decrementUnacknowledgeMessageCount?(consumerTag: string): void;
}

/** The callback flavour: the one with promises hides `keepActive`, a timer that outlives a shutdown that fails. */
export interface RascalBroker extends EventEmitter {
  keepActive?: NodeJS.Timeout;
  connect(vhost: string, done: Callback<Connection>): void;
  subscribe(name: string, overrides: Partial<SubscriptionConfig>, done: Callback<RascalSession>): void;
  shutdown(done: Callback<void>): void;
}

/** One connection of a broker, and what Rascal does on it. */
export interface RascalVhost extends EventEmitter {
  getChannel(done: Callback<Channel>): void;
}

/** Handed down to all that a broker is made of; Rascal itself knows `counters` alone. */
interface Components {
  onVhost?(vhost: RascalVhost): void;
}

interface Rascal {
  /** On an error the half-made broker comes with it. */
  Broker: {
    create(config: object, components: Components, done: Callback<RascalBroker | undefined>): void;
  };
}

const require = createRequire(import.meta.url);

/**
 * Rascal reads the names of bindings and shovels with XRegExp, for its named groups, which JavaScript has had since 2018. The
 * library and its Unicode tables are a fifth of an idle service's memory; RegExp takes its place, in Rascal alone.
 */
function withoutXRegExp(): void {
  try {
    const path = createRequire(require.resolve('rascal')).resolve('xregexp');
    const XRegExp = Object.assign((pattern: string) => new RegExp(pattern), {
      exec: (text: string, pattern: RegExp) => pattern.exec(text),
    });
    require.cache[path] ??= { id: path, filename: path, loaded: true, exports: XRegExp } as NodeJS.Module;
  } catch {
    // A Rascal that does not have it any more.
  }
}

/**
 * Rascal shows its connections when the last of them is made. What the first does until then nobody would hear, and an
 * `error` that nobody hears ends the process.
 */
function withEarlyVhosts(): void {
  const module = createRequire(require.resolve('rascal'))('./lib/amqp/Vhost') as {
    create(config: object, components: Components, done: Callback<RascalVhost>): void;
  };
  const { create } = module;
  module.create = (config, components, done) =>
    create(config, components, (error, vhost) => {
      if (!error) components.onVhost?.(vhost);
      done(error, vhost);
    });
}

/** Rascal acknowledges message by message; a range is acknowledged on the channel itself. */
function withChannels(): void {
  const path = createRequire(require.resolve('rascal')).resolve('./lib/amqp/SubscriberSession');
  const Session = require(path) as new (...settings: unknown[]) => object;
  const Subclass = class extends Session {
    declare channel: Channel;
    declare _open: (channel: Channel, ...more: unknown[]) => void;

    constructor(...settings: unknown[]) {
      super(...settings);
      const open = this._open;
      this._open = (channel, ...more) => {
        this.channel = channel;
        gatherWrites(socketOf(channel));
        open.call(this, channel, ...more);
      };
    }
  };
  require.cache[path] = { ...require.cache[path], exports: Subclass } as NodeJS.Module;
}

withoutXRegExp();
withChannels();
export const rascal = require('rascal') as Rascal;
withEarlyVhosts();

/** A callback call of Rascal or amqplib as a promise. */
export const promised = <T>(start: (done: Callback<T>) => void): Promise<T> =>
  new Promise((resolve, reject) => start((error, result) => (error ? reject(error) : resolve(result))));
