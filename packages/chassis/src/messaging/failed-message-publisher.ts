// Publishes messages that could not be handled to the retry ladder of their service or to their dead-letter queue, and messages that
// were not handled back to their queue. The body stays the same, byte for byte.
import type { Connection, Options } from 'amqplib/callback_api';
import { maskCredentials } from '../redact.ts';
import { type PublishError, Publisher } from './publisher.ts';
import type { RascalMessage } from './rascal/rascal.ts';
import type { RetryDelay } from './retry-delays.ts';
import { SharedPublisher } from './shared-publisher.ts';
import { deadLetterQueue, retryExchange, returnExchange } from './topology.ts';

/** Headers of a failed message. */
export const HEADERS = {
  /** Failed attempts so far. */
  attempts: 'x-warren-attempts',
  /** Stable code, e.g. `handler_failed`, `not_json`, `invalid_data`, `expired`. */
  reason: 'x-warren-reason',
  /** The error in words, at most 1,000 characters. */
  error: 'x-warren-error',
  /** ISO 8601, UTC. */
  firstFailedAt: 'x-warren-first-failed-at',
  lastFailedAt: 'x-warren-last-failed-at',
  /** The last ten failed attempts, oldest first: each a `FailedAttempt`. */
  failures: 'x-warren-failures',
  /** The work queue it failed in. */
  queue: 'x-warren-queue',
  /** Deliveries that were not acked, e.g. because the consumer died, before the message was returned to its queue. */
  deliveries: 'x-warren-delivery-count',
  /** The exchange and routing key it was first published with. */
  exchange: 'x-warren-exchange',
  routingKey: 'x-warren-routing-key',
} as const;

export interface Failure {
  reason: string;
  error: Error;
  at: Date;
}

/** One failed attempt, as the header and the inbox store it. */
export interface FailedAttempt {
  /** ISO 8601, UTC. */
  at: string;
  /** As in `HEADERS.reason`. */
  reason: string;
  /** The error in words, at most 300 characters. */
  error: string;
  /** The replica that failed, and its version. */
  instance: string;
  version: string;
}

const FAILURES_KEPT = 10;

/** The last failed attempts of a message, oldest first. */
export function failuresOf(message: RascalMessage): FailedAttempt[] {
  const failures = message.properties.headers?.[HEADERS.failures];
  return Array.isArray(failures) ? failures : [];
}

/** How often a message has failed. */
export function attemptsOf(message: RascalMessage): number {
  return count(message.properties.headers?.[HEADERS.attempts]);
}

/**
 * When a message was published: its timestamp, or else its arrival, which the first failure stores as its timestamp: so an event
 * without a time ages in the delay queues and the DLQ.
 */
export function publishedAt(message: RascalMessage, arrival: Date): Date {
  const ms = Number(message.properties.timestamp) * 1_000;
  return ms > 0 && ms < arrival.getTime() ? new Date(ms) : arrival;
}

/**
 * How often a message was delivered and not acked: as the broker counts it (since 4.3 without requeued deliveries), and before it
 * was returned to its queue.
 */
export function deliveriesOf(message: RascalMessage): number {
  const { headers } = message.properties;
  return count(headers?.['x-delivery-count']) + count(headers?.[HEADERS.deliveries]);
}

const count = (value: unknown): number =>
  typeof value === 'number' && Number.isInteger(value) && value > 0 ? value : 0;

export interface FailedMessagePublisherOptions {
  service: string;
  /** The broker user of `connect`. Consumers accept messages of their own user. */
  user: string;
  connect: () => Promise<Connection>;
  /** Called when a publish finds no exchange, no queue or no binding. */
  onMissing: () => void;
  /** Stored with each failed attempt. */
  replica: Pick<FailedAttempt, 'instance' | 'version'>;
}

const NOT_FOUND = 404;

/** Opens its connection with the first message. */
export class FailedMessagePublisher {
  readonly #options: FailedMessagePublisherOptions;
  readonly #publisher: SharedPublisher;
  #turn: Promise<void> = Promise.resolve();

  constructor(options: FailedMessagePublisherOptions) {
    this.#options = options;
    this.#publisher = new SharedPublisher(options.connect);
  }

  /** @throws {PublishError} unless the delay queue has confirmed it */
  retry(message: RascalMessage, queue: string, delay: RetryDelay, failure: Failure): Promise<void> {
    // Up to a fifth more or less, so that messages that failed together are not retried together.
    const expiration = Math.max(1, Math.round(delay.ms * (0.8 + Math.random() * 0.4)));
    return this.#send(retryExchange(this.#options.service), delay.name, message, {
      ...this.#properties(message, queue, failure),
      expiration,
      CC: [queue],
    });
  }

  /** @throws {PublishError} unless the dead-letter queue has confirmed it */
  deadLetter(message: RascalMessage, queue: string, failure: Failure): Promise<void> {
    return this.#send(
      returnExchange(this.#options.service),
      deadLetterQueue(queue),
      message,
      this.#properties(message, queue, failure),
    );
  }

  /**
   * Returns a message that was not handled to the end of its queue, unchanged: not a retry.
   * @throws {PublishError} unless the queue has confirmed it
   */
  requeue(message: RascalMessage, queue: string): Promise<void> {
    const { headers: _, userId: __, ...properties } = message.properties;
    const deliveries = deliveriesOf(message);
    return this.#send(returnExchange(this.#options.service), queue, message, {
      ...properties,
      mandatory: true,
      headers: {
        ...ownHeaders(message),
        ...originOf(message),
        ...(deliveries > 0 && { [HEADERS.deliveries]: deliveries }),
      },
    });
  }

  close(): Promise<void> {
    return this.#publisher.close();
  }

  #properties(message: RascalMessage, queue: string, failure: Failure): Options.Publish {
    // An expiration would delete it in the delay queue or the DLQ.
    const { headers: _headers, userId: _user, expiration: _ttl, ...kept } = message.properties;
    const at = failure.at.toISOString();
    const { [HEADERS.deliveries]: _deliveries, ...own } = ownHeaders(message);
    const error = maskCredentials(failure.error.message.slice(0, 2_000)).slice(0, 1_000);
    const attempt: FailedAttempt = {
      at,
      reason: failure.reason,
      error: error.slice(0, 300).toWellFormed(),
      ...this.#options.replica,
    };
    return {
      ...kept,
      timestamp: kept.timestamp ?? Math.floor(failure.at.getTime() / 1_000),
      persistent: true,
      mandatory: true,
      headers: {
        ...own,
        [HEADERS.attempts]: attemptsOf(message) + 1,
        [HEADERS.reason]: failure.reason,
        [HEADERS.error]: error,
        [HEADERS.failures]: [...failuresOf(message), attempt].slice(-FAILURES_KEPT),
        [HEADERS.firstFailedAt]: own[HEADERS.firstFailedAt] ?? at,
        [HEADERS.lastFailedAt]: at,
        [HEADERS.queue]: queue,
        ...originOf(message),
      },
    };
  }

  async #send(
    exchange: string,
    key: string,
    message: RascalMessage,
    properties: Options.Publish,
  ): Promise<void> {
    const options = { ...properties, userId: this.#options.user };
    const publisher = await this.#publisher.open();
    const send = (through: Publisher) =>
      new Promise<void>((resolve, reject) =>
        through.publish(exchange, key, message.content, options, (error?: PublishError) => {
          if (error?.reason === 'returned' || error?.code === NOT_FOUND) this.#options.onMissing();
          return error === undefined ? resolve() : reject(error);
        }),
      );
    try {
      await send(publisher);
    } catch (error) {
      // The broker closed the channel over one message, and all in flight failed with it. Each by itself shows which.
      if ((error as PublishError).reason !== 'refused' || publisher.closed === undefined) throw error;
      await this.#byItself(send);
    }
  }

  /** One after the other, each on a connection of its own. */
  #byItself(send: (through: Publisher) => Promise<void>): Promise<void> {
    const sent = this.#turn.then(async () => {
      const publisher = await Publisher.open(this.#options.connect);
      try {
        await send(publisher);
      } finally {
        await publisher.close();
      }
    });
    this.#turn = sent.catch(() => {});
    return sent;
  }
}

/** Headers that Rascal or the broker have added; a key in CC or BCC would be published to once more. */
const ADDED = new Set(['rascal', 'x-death', 'x-delivery-count', 'x-acquired-count', 'CC', 'BCC']);

/** The headers that the message was published with. */
const ownHeaders = ({ properties: { headers = {} } }: RascalMessage): Record<string, unknown> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !ADDED.has(name)));

function originOf({ properties: { headers = {} }, fields }: RascalMessage): Record<string, unknown> {
  return {
    [HEADERS.exchange]: headers[HEADERS.exchange] ?? fields.exchange,
    [HEADERS.routingKey]: headers[HEADERS.routingKey] ?? fields.routingKey,
  };
}
