// The consumer for any application: it handles the events of one queue, each once, in transactions of the application's own driver
// or ORM.
import type { AnyEvent, CloudEvent, EventDefinition } from '@warren/events';
import type { Log } from '../context.ts';
import { WarrenError } from '../errors.ts';
import { Consumer as QueueConsumer } from '../messaging/consumer.ts';
import type { BoundHandler } from '../messaging/handlers.ts';
import type { Outcome } from '../messaging/reports.ts';
import type { Adapter } from './adapter.ts';
import { guarded } from './log.ts';
import { DoorMessaging, type Messaging, type QueueSettings, STOP_TIMEOUT_MS } from './messaging.ts';
import { type Followers, unitsOn, type Work } from './work.ts';

export type { CloudEvent, EventDefinition } from '@warren/events';
export type { Log, ScheduledTask } from '../context.ts';
export { type ErrorCode, WarrenError } from '../errors.ts';
export type { Outcome } from '../messaging/reports.ts';
export type { Adapter, Query } from './adapter.ts';
export type { QueueSettings } from './messaging.ts';
export type { Followers, Work } from './work.ts';

/**
 * Handles one event in a transaction: its effect, and what it emits and schedules, commit together, once per event, however often it
 * is delivered. It does database work only; schedule a task for an external side effect. The transaction may be shared with other
 * events, and is redone without them if one of them fails. Events may arrive in any order. An error means: roll back, and retry later.
 */
export type EventHandler<Data extends object, Handle> = (
  event: CloudEvent<Data>,
  work: Work<Handle>,
) => Promise<void>;

/** One delivery and what became of it. */
export interface Consumed {
  queue: string;
  type: string;
  /** `retried`: waits in a delay queue. `dead`: is in the dead-letter queue. */
  outcome: Outcome;
  /** From the start of its batch to the commit; of `handled` and `duplicate`. */
  seconds?: number;
  /** From the time of the event to the commit, in seconds; of `handled`. */
  lag?: number;
}

export interface ConsumerHooks {
  /** @defaultValue that of the messaging */
  log?: Log;
  onConsumed?: (consumed: Consumed) => void;
}

/** `publications` default to those of the messaging's `broker`, which also says `prefetch`, `deliveryLimit` and `retry`. */
export interface ConsumerOptions<Data extends object, Handle> extends Followers, QueueSettings {
  messaging: Messaging;
  adapter: Adapter<Handle>;
  /** One event, or versions of one. The queue is `SERVICE.TYPE`, e.g. `loyalty.order.confirmed`. */
  event: EventDefinition<Data> | readonly [EventDefinition<Data>, ...EventDefinition<Data>[]];
  handler: EventHandler<Data, Handle>;
  /** What the handler locks, if not the event's subject: handlers of one key run one after the other, in the order of arrival. */
  key?: (event: CloudEvent<Data>) => string;
  /** ms a handler may take. Then its statement is cancelled, and the event retried later. @defaultValue 30000 */
  timeout?: number;
  /** Transactions at once, when the first ones are slow: connections of the pool. @defaultValue 5 */
  concurrency?: number;
  hooks?: ConsumerHooks;
}

export interface Consumer {
  readonly queue: string;
  /** Returns at once; consumes whenever broker and database are available, until `stop`. */
  start(): void;
  /**
   * Takes nothing more, and finishes what its handlers have begun.
   * @param options.timeout ms that they may take (default: 10000); what is not done then is redelivered when the messaging stops
   * @returns whether all were finished
   */
  stop(options?: { timeout?: number }): Promise<boolean>;
}

/** ms */
const HANDLER_TIMEOUT_MS = 30_000;
const CONCURRENCY = 5;

/**
 * A consumer of one event. The database needs the tables of `@warren/chassis/migrations`.
 * @throws {WarrenError} `invalid_service`, when the options contradict each other or the messaging's `broker`
 * @example
 * const consumer = createConsumer({
 *   messaging,
 *   adapter: drizzleAdapter(db, sql),
 *   event: orderConfirmed,
 *   handler: async ({ data }, work) => {
 *     await work.transaction.insert(points).values({ userId: data.userId, points: Math.floor(data.price) });
 *   },
 * });
 * consumer.start();
 * process.once('SIGTERM', () => messaging.stop());
 */
export function createConsumer<Data extends object, Handle>(
  options: ConsumerOptions<Data, Handle>,
): Consumer {
  const messaging = messagingOf(options.messaging);
  const events = [options.event].flat() as [AnyEvent, ...AnyEvent[]];
  const queue = queueOf(messaging.service, events);
  const { declared, retryDelays } = messaging.declare(queue, events, settingsOf(options));
  const { timeout = HANDLER_TIMEOUT_MS, concurrency = CONCURRENCY } = options;
  const log = options.hooks?.log ?? messaging.log;
  const onConsumed = guarded(options.hooks?.onConsumed, log);
  const consumer = new QueueConsumer({
    queue,
    handlers: events.map((event) => boundHandler(event, options)),
    units: unitsOn(options.adapter, {
      ...options,
      publications: options.publications ?? messaging.publications ?? [],
      service: messaging.service,
      log,
    }),
    availability: messaging.availabilityOf(options.adapter),
    intake: messaging.intake,
    failedMessages: messaging.failedMessages,
    producers: messaging.producers,
    deliveryLimit: declared.redeliveries.limit,
    retryDelays,
    concurrency,
    timeout,
    retention: messaging.retention,
    log,
    report: {
      consumed: (outcome, seconds, lag) =>
        onConsumed({
          queue,
          type: events[0].type,
          outcome,
          ...(seconds !== undefined && { seconds }),
          ...(lag !== undefined && { lag }),
        }),
    },
    now: () => new Date(),
  });
  messaging.join(queue, { consumer, declared });
  let isStopped = false;
  return {
    queue,
    start() {
      if (isStopped)
        throw new WarrenError('invalid_service', `${queue}: its consumer was stopped: create another one`);
      messaging.run(queue);
    },
    stop({ timeout: limit = STOP_TIMEOUT_MS } = {}) {
      isStopped = true;
      return messaging.drain(queue, limit);
    },
  };
}

function messagingOf(messaging: Messaging): DoorMessaging {
  if (messaging instanceof DoorMessaging) return messaging;
  throw new WarrenError('invalid_service', 'createConsumer: `messaging` has to come from createMessaging()');
}

function queueOf(service: string, events: readonly [AnyEvent, ...AnyEvent[]]): string {
  const [{ type }] = events;
  const other = events.find((event) => event.type !== type);
  if (other !== undefined)
    throw new WarrenError(
      'invalid_service',
      `createConsumer: ${other.type} is not a version of ${type}: each event has a consumer of its own`,
    );
  return `${service}.${type}`;
}

const settingsOf = ({ prefetch, deliveryLimit, retry }: QueueSettings): QueueSettings => ({
  prefetch,
  deliveryLimit,
  retry,
});

/** The handler gets the ORM's handle where a service's handlers get Kysely's transaction. */
function boundHandler<Data extends object, Handle>(
  event: AnyEvent,
  { handler, key }: ConsumerOptions<Data, Handle>,
): BoundHandler {
  const handle = handler as unknown as BoundHandler['handle'];
  return key === undefined ? { event, handle } : { event, handle, key };
}
