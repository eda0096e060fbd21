// A relay for any application: publishes what its transactions left in the outbox.
import { Joi } from '@warren/events';
import { url } from '../config.ts';
import type { Log } from '../context.ts';
import { oneHost } from '../database/url.ts';
import { WarrenError } from '../errors.ts';
import { Messaging } from '../messaging/connection.ts';
import { userOf } from '../messaging/producers.ts';
import { rascalConfig } from '../messaging/topology.ts';
import { Relay } from '../outbox/relay.ts';
import { warningsOnly } from './log.ts';

export interface RelayOptions {
  /** The publisher: names its connections, and is the `app-id` of its messages. */
  service: string;
  /** Of PostgreSQL itself, or of a pooler in session mode. */
  databaseUrl: string;
  /** Its user is stamped on every message as `user-id`, by which consumers check the producer: name the user after the service. */
  brokerUrl: string;
  /** @defaultValue warnings and errors on standard error */
  log?: Log;
  /** Called for every event: `confirmed`, `failed` (it is tried again) or `parked` (the broker will never accept it). */
  onPublished?: (published: {
    type: string;
    outcome: 'confirmed' | 'failed' | 'parked';
    /** From the publish to its confirm; 0 when it was parked. */
    seconds: number;
  }) => void;
  /** Called when no queue took an event of this type. */
  onUnconsumed?: (type: string) => void;
  /** Called when the relay has ended over a mistake in the configuration. @defaultValue logs the error */
  onFatal?: (error: Error) => void;
}

export interface OutboxRelay {
  /** Returns at once; connects to both, and reconnects, until `stop`. Of several processes with a relay, one publishes. */
  start(): void;
  /** A transaction that emitted events has committed: publishes them now instead of at the next poll (at most 0.8 s later). */
  wake(): void;
  /**
   * Publishes what is in the outbox, and closes both connections. What is not confirmed when `timeout` ms (default: 5000) are over, or
   * while the broker is unavailable, stays in the outbox. Call it once no transaction is open any more.
   */
  stop(options?: { timeout?: number }): Promise<void>;
  /** Whether this process publishes; if not, another one does, or the database is unavailable. */
  readonly active: boolean;
  /** Why the broker is unavailable, in a sentence; undefined when it is available. */
  readonly problem: string | undefined;
}

/** ms */
const STOP_TIMEOUT_MS = 5_000;

/**
 * @throws {WarrenError} `config_invalid`, when an option is
 * @example
 * const relay = createRelay({ service: 'thing', databaseUrl: env.DATABASE_URL, brokerUrl: env.AMQP_URL, log: app.log });
 * relay.start();
 * app.addHook('onClose', () => relay.stop({ timeout: 5_000 }));
 */
export function createRelay(options: RelayOptions): OutboxRelay {
  const { service, databaseUrl, brokerUrl, log = warningsOnly } = checked(options);
  const connection = new Messaging({
    url: brokerUrl,
    name: `${service} relay`,
    config: () => rascalConfig({ service, vhosts: { publish: {} } }),
    log,
  });
  const relay = new Relay({
    service,
    user: userOf(brokerUrl),
    databaseUrl,
    connect: () => connection.connect(),
    connected: () => connection.connected(),
    onBlocked: (blocked, reason?: string) => connection.blocked(blocked, reason),
    onFatal: options.onFatal ?? ((error) => log.error({ err: error }, 'outbox relay ended')),
    log,
    hooks: {
      onPublished: (type, outcome, seconds) => options.onPublished?.({ type, outcome, seconds }),
      onUnconsumed: (type) => options.onUnconsumed?.(type),
    },
  });
  let wasStarted = false;
  return {
    start() {
      if (wasStarted) throw new WarrenError('invalid_service', 'a relay is started once: create another one');
      wasStarted = true;
      connection.start();
      relay.start();
    },
    wake: () => relay.wake(),
    async stop({ timeout = STOP_TIMEOUT_MS } = {}) {
      wasStarted = true;
      await relay.stop(timeout);
      await connection.close();
    },
    get active() {
      return relay.active;
    },
    get problem() {
      return connection.problem;
    },
  };
}

const schema = Joi.object({
  service: Joi.string().required(),
  databaseUrl: url('postgres', 'postgresql').concat(oneHost).required(),
  brokerUrl: url('amqp', 'amqps').required(),
}).unknown();

function checked(options: RelayOptions): RelayOptions {
  const { value, error } = schema.validate(options, { errors: { label: false } });
  const [mistake] = error?.details ?? [];
  if (mistake !== undefined)
    throw new WarrenError('config_invalid', `createRelay: ${mistake.path.join('.')} ${mistake.message}`);
  return { ...options, ...value };
}
