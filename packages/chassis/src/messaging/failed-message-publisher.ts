// Where a message goes that could not be handled: to the service's retry ladder, or to its dead-letter queue. Each step is
// confirmed before the original is acknowledged; the body stays byte for byte.
import type { Connection, Options } from 'amqplib/callback_api';
import { maskCredentials } from '../config.ts';
import { type PublishError, Publisher } from './publisher.ts';
import type { RascalMessage } from './rascal/rascal.ts';
import type { RetryDelay } from './retry-delays.ts';
import { SharedPublisher } from './shared-publisher.ts';
import { deadLetterQueue, retryExchange, returnExchange } from './topology.ts';

/** What the headers of a failed message say. */
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
  /** Deliveries that no acknowledgement ended, e.g. since the consumer died, before the message was returned to its queue. */
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

/** One failed attempt, as the header and the inbox keep it. */
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

/** The last failed attempts of this message, oldest first. */
export function failuresOf(message: RascalMessage): FailedAttempt[] {
  const failures = message.properties.headers?.[HEADERS.failures];
  return Array.isArray(failures) ? failures : [];
}

/** Failed attempts that this message has behind it. */
export function attemptsOf(message: RascalMessage): number {
  return count(message.properties.headers?.[HEADERS.attempts]);
}

/**
 * When a message was published: its timestamp, or else its arrival. The first failure writes the arrival down, so that an
 * event without a time gets older in the delay queues and the DLQ.
 */
export function publishedAt(message: RascalMessage, arrival: Date): Date {
  const ms = Number(message.properties.timestamp) * 1_000;
  return ms > 0 && ms < arrival.getTime() ? new Date(ms) : arrival;
}

/**
 * Deliveries that this message has behind it and that no acknowledgement ended: as the broker counts them (since 4.3 without
 * those that were requeued), and those from before it was returned to its queue.
 */
export function deliveriesOf(message: RascalMessage): number {
  const { headers } = message.properties;
  return count(headers?.['x-delivery-count']) + count(headers?.[HEADERS.deliveries]);
}

const count = (value: unknown): number =>
  typeof value === 'number' && Number.isInteger(value) && value > 0 ? value : 0;

export interface FailedMessagePublisherOptions {
  service: string;
  /** The broker user of `connect`: consumers accept what their own user returns to them. */
  user: string;
  connect: () => Promise<Connection>;
  /** A publish found that an exchange, a queue or a binding is missing. */
  onMissing: () => void;
  /** Named in what failed. */
  replica: Pick<FailedAttempt, 'instance' | 'version'>;
}

const NOT_FOUND = 404;

/** Forwards the messages of one service; opens its connection with the first. */
export class FailedMessagePublisher {
  readonly #options: FailedMessagePublisherOptions;
  readonly #publisher: SharedPublisher;
  #turn: Promise<void> = Promise.resolve();

  constructor(options: FailedMessagePublisherOptions) {
    this.#options = options;
    this.#publisher = new SharedPublisher(options.connect);
  }

  /** @throws {PublishError} when it is not certain that the message is safe in the delay queue */
  retry(message: RascalMessage, queue: string, delay: RetryDelay, failure: Failure): Promise<void> {
    // Up to a fifth more or less, so that what failed together does not come back together.
    const expiration = Math.max(1, Math.round(delay.ms * (0.8 + Math.random() * 0.4)));
    return this.#send(retryExchange(this.#options.service), delay.name, message, {
      ...this.#properties(message, queue, failure),
      expiration,
      CC: [queue],
    });
  }

  /** @throws {PublishError} when it is not certain that the message is safe in the dead-letter queue */
  deadLetter(message: RascalMessage, queue: string, failure: Failure): Promise<void> {
    return this.#send(
      returnExchange(this.#options.service),
      deadLetterQueue(queue),
      message,
      this.#properties(message, queue, failure),
    );
  }

  /**
   * Returns a message that was not handled to the end of its queue, as it is: not a retry.
   * @throws {PublishError} when it is not certain that the message is safe there
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
    const { headers: _headers, userId: _user, expiration: _ttl, ...kept } = message.properties;
    const at = failure.at.toISOString();
    // An expiration would let it vanish.
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
      // The broker closes the channel over one message, and all that were in flight fail with it. Alone it shows which.
      if ((error as PublishError).reason !== 'refused' || publisher.closed === undefined) throw error;
      await this.#alone(send);
    }
  }

  /** One after the other, each through a connection of its own. */
  #alone(send: (through: Publisher) => Promise<void>): Promise<void> {
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

/**
 * The headers of the message itself. Rascal and the broker annotate what they deliver, and a key in CC or BCC would be published
 * to once more. A user id, a property, would have to be ours.
 */
function ownHeaders(message: RascalMessage): Record<string, unknown> {
  const {
    rascal: _,
    'x-death': __,
    'x-delivery-count': ___,
    'x-acquired-count': ____,
    CC: _____,
    BCC: ______,
    ...own
  } = message.properties.headers ?? {};
  return own;
}

function originOf({ properties: { headers = {} }, fields }: RascalMessage): Record<string, unknown> {
  return {
    [HEADERS.exchange]: headers[HEADERS.exchange] ?? fields.exchange,
    [HEADERS.routingKey]: headers[HEADERS.routingKey] ?? fields.routingKey,
  };
}
