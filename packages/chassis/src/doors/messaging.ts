// The connection of an application to RabbitMQ, for its consumers: see inbox.ts.
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { type AnyEvent, Joi } from '@warren/events';
import { within } from '../concurrency.ts';
import { url } from '../config.ts';
import type { Log } from '../context.ts';
import type { Availability } from '../database/availability.ts';
import { WarrenError } from '../errors.ts';
import type { BrokerDefinition, EventQueue, Subscriptions } from '../messaging/broker.ts';
import { type BrokerState, Messaging as Connection } from '../messaging/connection.ts';
import type { Consumer } from '../messaging/consumer.ts';
import { FailedMessagePublisher } from '../messaging/failed-message-publisher.ts';
import { Intake } from '../messaging/intake.ts';
import { type ProducerCheck, Producers } from '../messaging/producers.ts';
import {
  type Duration,
  ladderOf,
  parseDelays,
  RETRY_DELAYS,
  type RetryDelay,
} from '../messaging/retry-delays.ts';
import { deadLetterQueue, rascalConfig } from '../messaging/topology.ts';
import type { Adapter } from './adapter.ts';
import { availabilityOf } from './availability.ts';
import { guarded, warningsOnly } from './log.ts';
import { type Pruning, pruneRegularly } from './pruning.ts';

export { type AnyEvent, type CloudEvent, defineEvent, type EventDefinition, Joi } from '@warren/events';
export type { Log } from '../context.ts';
export { type ErrorCode, WarrenError } from '../errors.ts';
export { type BrokerDefinition, defineBroker } from '../messaging/broker.ts';
export type { BrokerState } from '../messaging/connection.ts';
export type { ProducerCheck } from '../messaging/producers.ts';
export { type Duration, RETRY_DELAYS } from '../messaging/retry-delays.ts';

export interface MessagingOptions {
  /** The application's name: the first word of its queues, and part of the name of its user on the broker. */
  service: string;
  /** `amqp://` or `amqps://`. The names of all other services' users follow from its user: `demo.loyalty` → `demo.order`. */
  brokerUrl: string;
  /** What the application has on the broker. Without it, each consumer declares its queue with the default settings. */
  broker?: BrokerDefinition<string, object>;
  /**
   * What to do with a message from another broker user than its contract names. Every service may be the user `guest`, so with that
   * user the check is off.
   * @defaultValue 'enforce'
   */
  producerCheck?: ProducerCheck;
  /** Broker users whose events are accepted whatever their contract names, e.g. for replays. */
  operators?: readonly string[];
  /** Names this process on the broker and in the headers of failed messages. @defaultValue host name and process id */
  instance?: string;
  /** Of the application: a header of failed messages. */
  version?: string;
  /**
   * ms that the inbox remembers an event; older events are dead-lettered. Longer than dead letters are kept.
   * @defaultValue 30 days
   */
  retention?: number;
  hooks?: MessagingHooks;
}

export interface MessagingHooks {
  /** @defaultValue warnings and errors on standard error */
  log?: Log;
  onState?: (state: BrokerState) => void;
  /** A message came from another broker user than its contract names. */
  onForged?: (forged: { queue: string; outcome: 'refused' | 'accepted' }) => void;
  /** The database of the consumers has become unavailable, or available again: meanwhile their events wait in the broker. */
  onDatabase?: (available: boolean) => void;
}

export interface Messaging {
  readonly service: string;
  readonly state: BrokerState;
  /** Why there is no connection now, in a sentence. */
  readonly problem: string | undefined;
  /**
   * Resolves when the queues are declared and consumed, or at `stop`. It may wait for as long as the broker is unavailable: do not
   * delay the start of an application by it.
   */
  connected(): Promise<void>;
  /**
   * Stops all consumers, each with its drain, and closes the connection.
   * @param options.timeout ms that handlers may take to finish (default: 10000); what is not done then is redelivered
   * @returns whether all were finished
   */
  stop(options?: { timeout?: number }): Promise<boolean>;
}

const RETENTION_MS = 30 * 86_400_000;
/** ms */
export const STOP_TIMEOUT_MS = 10_000;

/**
 * Prepares the connection to the broker; the first consumer that starts opens it. It reconnects by itself until `stop`.
 * @throws {WarrenError} `config_invalid`, when an option is; `invalid_service`, when `broker` is of another service
 * @example
 * const messaging = createMessaging({ service: 'loyalty', brokerUrl: env.AMQP_URL, hooks: { log: app.log } });
 */
export function createMessaging(options: MessagingOptions): Messaging {
  return new DoorMessaging(options);
}

/** A consumer, as its messaging sees it. */
interface Member {
  consumer: Consumer;
  declared: EventQueue;
}

/** What a consumer may say of its queue where no broker definition does. */
export interface QueueSettings {
  /** Messages in flight: a batch, and the next one. @defaultValue 200 */
  prefetch?: number | undefined;
  /** Deliveries of a message that ends its consumer, before it is dead-lettered. Fixed when the queue is first declared. @defaultValue 10 */
  deliveryLimit?: number | undefined;
  /** How long a message whose handler failed waits before each attempt. @defaultValue `['1s', '10s', '1m']` */
  retry?: readonly Duration[] | undefined;
}

/** A database of its consumers. */
interface Database {
  availability: Availability;
  pruning: Pruning;
}

/** What `createConsumer` needs of a messaging, besides what the application does. */
export class DoorMessaging implements Messaging {
  readonly service: string;
  readonly log: Log;
  /** ms */
  readonly retention: number;
  readonly producers: Producers;
  readonly failedMessages: FailedMessagePublisher;
  readonly intake: Intake;
  readonly #connection: Connection;
  readonly #options: MessagingOptions;
  readonly #hooks: Required<Omit<MessagingHooks, 'log'>>;
  readonly #declared: Record<string, EventQueue>;
  readonly #members = new Map<string, Member>();
  readonly #databases = new Map<object, Database>();
  /** Queues whose consumers run, and the prefetch that the intake allows. */
  readonly #running = new Set<string>();
  readonly #limits = new Map<string, number | undefined>();
  #isOpen = false;
  #stopping: Promise<boolean> | undefined;

  constructor(given: MessagingOptions) {
    const options = checked(given);
    const { service, brokerUrl, broker, hooks = {} } = options;
    this.#options = options;
    this.service = service;
    this.log = hooks.log ?? warningsOnly;
    this.#hooks = {
      onState: guarded(hooks.onState, this.log),
      onForged: guarded(hooks.onForged, this.log),
      onDatabase: guarded(hooks.onDatabase, this.log),
    };
    this.retention = options.retention ?? RETENTION_MS;
    this.#declared = { ...(broker?.vhosts.consume?.subscriptions as Record<string, EventQueue>) };
    const instance = options.instance ?? `${hostname()}-${process.pid}`;
    this.producers = new Producers({
      service,
      url: brokerUrl,
      check: options.producerCheck ?? 'enforce',
      operators: options.operators ?? [],
      log: this.log,
      metrics: {
        messagesForged: { inc: (labels, count = 1) => count > 0 && this.#hooks.onForged(labels) },
      },
    });
    this.#connection = new Connection({
      url: brokerUrl,
      name: `${service} ${instance}`,
      config: () =>
        rascalConfig(this.#definition(), {
          retryDelays: defaultDelays,
          instance: `${instance}.${randomBytes(4).toString('hex')}`,
        }),
      log: this.log,
      onState: this.#hooks.onState,
    });
    this.failedMessages = new FailedMessagePublisher({
      service,
      user: this.producers.user,
      connect: () => this.#connection.connect(),
      onMissing: () => this.#connection.checkTopology(),
      replica: { instance, version: options.version ?? '' },
    });
    this.intake = new Intake({
      limit: (queue, prefetch) => this.#limit(queue, prefetch),
      settled: () => this.#connection.settled(),
    });
  }

  get state(): BrokerState {
    return this.#connection.state;
  }

  get problem(): string | undefined {
    return this.#connection.problem;
  }

  connected(): Promise<void> {
    return this.#connection.connected();
  }

  stop({ timeout = STOP_TIMEOUT_MS } = {}): Promise<boolean> {
    this.#stopping ??= this.#stop(timeout);
    return this.#stopping;
  }

  /** The routing keys that `broker` lets the application publish; undefined without `broker`. */
  get publications(): readonly AnyEvent[] | undefined {
    const { broker } = this.#options;
    return broker && Object.values(broker.vhosts.publish.publications ?? {});
  }

  /**
   * The settings of a queue.
   * @throws {WarrenError} `invalid_service`, when they contradict `broker`, or the queue has a consumer already
   */
  declare(
    queue: string,
    event: EventQueue['event'],
    settings: QueueSettings,
  ): { declared: EventQueue; retryDelays: readonly RetryDelay[] } {
    const refuse = (reason: string) => {
      throw new WarrenError('invalid_service', `createConsumer: ${reason}`);
    };
    const known = this.#declared[queue];
    const [given] = Object.entries(settings).find(([, value]) => value !== undefined) ?? [];
    if (this.#members.has(queue)) refuse(`${queue} has a consumer already`);
    if (this.#options.broker !== undefined && known === undefined)
      refuse(`the broker definition declares no queue ${queue}: add it to its subscriptions`);
    if (known !== undefined && given !== undefined)
      refuse(`${given} of ${queue} is in the broker definition: remove it here`);
    if (this.#isOpen && known === undefined)
      refuse(
        `${queue} cannot be declared on an open connection: create all consumers before the first one starts`,
      );
    const declared = known ?? {
      event,
      prefetch: settings.prefetch ?? 200,
      redeliveries: { limit: settings.deliveryLimit ?? 10 },
      retry: settings.retry ?? RETRY_DELAYS,
      deadLetters: deadLetterQueue(queue) as `${string}.dlq`,
    };
    return { declared, retryDelays: ladderOf(declared.retry, defaultDelays) };
  }

  join(queue: string, member: Member): void {
    this.#members.set(queue, member);
    this.#declared[queue] = member.declared;
    this.#connection.subscribe(queue, (session, _, releasing) => member.consumer.attach(session, releasing));
    this.#connection.limit(queue, 0);
  }

  /** One for each adapter: consumers on one database follow one outage. */
  availabilityOf<Handle>(adapter: Adapter<Handle>): Availability {
    const known = this.#databases.get(adapter);
    if (known !== undefined) return known.availability;
    const availability = availabilityOf(adapter, this.log);
    availability.onChange((available) => {
      const areAvailable = [...this.#databases.values()].every(
        (each) => each.availability.problem === undefined,
      );
      if (areAvailable) this.intake.resume();
      else this.intake.suspend();
      this.#hooks.onDatabase(available);
    });
    this.#databases.set(adapter, {
      availability,
      pruning: pruneRegularly(adapter, this.retention, this.log),
    });
    return availability;
  }

  /** @throws {WarrenError} `invalid_service` after `stop` */
  run(queue: string): void {
    if (this.#stopping !== undefined)
      throw new WarrenError('invalid_service', `${queue}: its messaging has stopped: create another one`);
    this.#running.add(queue);
    this.#connection.limit(queue, this.#limits.get(queue));
    for (const { pruning } of this.#databases.values()) pruning.start();
    if (!this.#isOpen) this.#connection.start();
    this.#isOpen = true;
  }

  /** Finishes what its handlers have begun; the rest goes back to the queue. */
  async drain(queue: string, timeout: number): Promise<boolean> {
    const { consumer } = this.#members.get(queue) as Member;
    this.#running.delete(queue);
    consumer.drain();
    const deadline = performance.now() + timeout;
    const isSettled = await this.#connection.unsubscribeFrom(queue, timeout);
    // Also handlers of a connection that was lost.
    const left = Math.max(0, deadline - performance.now());
    const isFinished = await within(
      left,
      consumer.finished().then(() => true),
    );
    return isSettled && isFinished === true;
  }

  #definition(): BrokerDefinition {
    const { service, broker } = this.#options;
    return {
      service,
      vhosts: {
        publish: broker?.vhosts.publish ?? {},
        consume: { subscriptions: this.#declared as Subscriptions },
      },
    };
  }

  #limit(queue: string, prefetch: number | undefined): void {
    this.#limits.set(queue, prefetch);
    if (this.#running.has(queue)) this.#connection.limit(queue, prefetch);
  }

  async #stop(timeout: number): Promise<boolean> {
    this.intake.stop();
    const drained = await Promise.all([...this.#running].map((queue) => this.drain(queue, timeout)));
    for (const { availability, pruning } of this.#databases.values()) {
      availability.close();
      pruning.stop();
    }
    await this.failedMessages.close();
    await this.#connection.close();
    return drained.every(Boolean);
  }
}

const defaultDelays = parseDelays(RETRY_DELAYS.default) ?? [];

const schema = Joi.object({
  service: Joi.string()
    .pattern(/^[a-z][a-z0-9]*$/, 'letters and digits in lower case')
    .required(),
  brokerUrl: url('amqp', 'amqps').required(),
  producerCheck: Joi.valid('enforce', 'report', 'off'),
}).unknown();

function checked(options: MessagingOptions): MessagingOptions {
  const { error } = schema.validate(options, { errors: { wrap: { label: false } } });
  if (error !== undefined) {
    const name = String(error.details[0]?.path[0]);
    const text = error.message.startsWith(name) ? error.message : `${name} ${error.message}`;
    throw new WarrenError('config_invalid', `createMessaging: ${text}`);
  }
  const { service, broker } = options;
  if (broker !== undefined && broker.service !== service)
    throw new WarrenError(
      'invalid_service',
      `createMessaging: the broker definition is of the service '${broker.service}', not '${service}'`,
    );
  return options;
}
