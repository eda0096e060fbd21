// Checks who published a message. The broker refuses a publish whose `user-id` is not the user of its connection, so a `user-id` is
// proof, on every way that the message takes afterwards (CC, BCC, a dead-letter exchange, a binding, an alternate exchange).
// https://www.rabbitmq.com/docs/validated-user-id
import { unescape as decode } from 'node:querystring';
import type { Log } from '../context.ts';
import { ConfigError } from '../errors.ts';
import { limitedWarnings } from '../telemetry/seldom.ts';
import type { RascalMessage } from './rascal/rascal.ts';

/** A message from another user than its contract names is refused (`enforce`), accepted and logged (`report`), or accepted (`off`). */
export type ProducerCheck = 'enforce' | 'report' | 'off';

export interface ProducersOptions {
  service: string;
  /** AMQP_URL. */
  url: string;
  check: ProducerCheck;
  /** Broker users that may publish any event. */
  operators: readonly string[];
  log: Log;
  metrics: {
    messagesForged: { inc(labels: { queue: string; outcome: 'refused' | 'accepted' }, value?: number): void };
  };
}

/** The user of all services on a local broker. */
const SHARED_USER = 'guest';
/** Suffix of a second user of the same service, while its password is rotated. */
const ROTATION_SUFFIX = /\.next$/;

/** The broker user of an AMQP URL. */
export const userOf = (url: string): string => decode(new URL(url).username) || SHARED_USER;

/** Derives the broker users of all services from its own: `demo.order` → `demo.payment`. */
export class Producers {
  /** This service's broker user: the `userId` of all that it publishes. */
  readonly user: string;
  readonly #options: ProducersOptions;
  readonly #check: ProducerCheck;
  readonly #named: (service: string) => string;
  readonly #warn: ReturnType<typeof limitedWarnings>;

  /** @throws {ConfigError} when the user's name does not contain the service's */
  constructor(options: ProducersOptions) {
    const { service, url, check, log } = options;
    this.#options = options;
    this.#warn = limitedWarnings(log);
    this.user = userOf(url);
    this.#check = this.user === SHARED_USER ? 'off' : check;
    if (this.#check !== check)
      log.warn(`every service may be the user '${SHARED_USER}': PRODUCER_CHECK is off`);
    const own = this.user.replace(ROTATION_SUFFIX, '');
    const at = own.lastIndexOf(service);
    if (at === -1 && this.#check !== 'off')
      throw new ConfigError([
        `AMQP_URL: the user '${this.user}' must contain the service's name '${service}', from which the users of the others follow (or set PRODUCER_CHECK=off)`,
      ]);
    this.#named = (other) => own.slice(0, at) + other + own.slice(at + service.length);
  }

  /** Whether the `user-id` proves that this service published it, with any PRODUCER_CHECK. */
  isFrom({ properties }: RascalMessage, service: string): boolean {
    return (
      this.user !== SHARED_USER && properties.userId?.replace(ROTATION_SUFFIX, '') === this.#named(service)
    );
  }

  /** Starts the counters of a queue at 0, or `rate()` misses the first increment. */
  expect(queue: string): void {
    for (const outcome of OUTCOMES) this.#options.metrics.messagesForged.inc({ queue, outcome }, 0);
  }

  /**
   * An event may come from the producer that its contract names, from this service (retries and returns), or from an operator.
   * @returns why it is refused; undefined if it may be handled
   */
  refuseEvent(message: RascalMessage, queue: string, from: string): Error | undefined {
    if (this.#options.operators.includes(message.properties.userId ?? '')) return undefined;
    return this.refuse(message, queue, [from, this.#options.service]);
  }

  /** Like `refuseEvent`, for a message that only these services may publish. */
  refuse(message: RascalMessage, queue: string, services: readonly string[]): Error | undefined {
    const { userId } = message.properties;
    if (this.#check === 'off') return undefined;
    const user = userId?.replace(ROTATION_SUFFIX, '');
    const expected = services.map(this.#named);
    if (user !== undefined && expected.includes(user)) return undefined;

    const outcome = this.#check === 'enforce' ? 'refused' : 'accepted';
    this.#options.metrics.messagesForged.inc({ queue, outcome });
    const publisher = userId === undefined ? 'without a user-id' : `by the user '${userId}'`;
    const error = new Error(
      `the message was published ${publisher}; expected ${expected.join(' or ') || 'a user who may publish it'}`,
    );
    this.#report(message, queue, outcome, error);
    return outcome === 'refused' ? error : undefined;
  }

  #report({ fields, properties }: RascalMessage, queue: string, outcome: Outcome, error: Error): void {
    const { userId: user, messageId } = properties;
    this.#warn(
      {
        code: 'forged',
        queue,
        user,
        messageId,
        routingKey: fields.routingKey,
        reason: error.message,
      },
      `forged message ${outcome}`,
    );
  }
}

const OUTCOMES = ['refused', 'accepted'] as const;
type Outcome = (typeof OUTCOMES)[number];
