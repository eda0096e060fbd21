// What happens to one message: checked against its contract, handled once in one transaction, acknowledged; or retried, or
// dead-lettered. Handlers know nothing of it.
import {
  type AnyEvent,
  type CloudEvent,
  ContractError,
  type EventDefinition,
  parseEvent,
} from '@warren/contracts';
import { sql } from 'kysely';
import { backoff, pause } from '../backoff.ts';
import type { Logger, Units, Work } from '../context.ts';
import { isDatabaseUnavailable } from '../database/database.ts';
import { asError } from '../errors.ts';
import { inboxId, remember } from '../inbox/inbox.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { SpanKind, traceIdOf, withSpan } from '../telemetry/tracing.ts';
import { PublishError } from './confirms.ts';
import { attemptsOf, type Failure, type Forwarder, publishedAt } from './forwarder.ts';
import type { Producers } from './producers.ts';
import type { AckOrNack, RascalMessage, RascalSession } from './rascal.ts';
import type { RetryDelay } from './topology.ts';

/**
 * Handles one event in one transaction: its effect, the events it emits and the tasks it schedules commit together, once per
 * event however often it is delivered. It does database work only; what acts on the outside is scheduled as a task.
 * Events may arrive in any order. An error means: roll back, and try again later.
 */
// biome-ignore lint/suspicious/noExplicitAny: see Work
export type Handler<Data extends object, Schema = any, Config = any> = (
  event: CloudEvent<Data>,
  work: Work<Schema, Config>,
) => Promise<void>;

export interface Subscription {
  event: AnyEvent;
  // biome-ignore lint/suspicious/noExplicitAny: handlers of different events stand in one list
  handle: Handler<any, any, any>;
}

/** Says which handler hears an event: `handlers: [on(userCreated, openSession)]`. */
// biome-ignore lint/suspicious/noExplicitAny: see Work
export function on<Data extends object, Schema = any, Config = any>(
  event: EventDefinition<Data>,
  handle: Handler<Data, Schema, Config>,
): Subscription {
  return { event, handle };
}

export interface ConsumerOptions {
  queue: string;
  /** Versions of one event type, each with its handler. */
  subscriptions: readonly Subscription[];
  units: Units;
  forwarder: Forwarder;
  producers: Producers;
  retryDelays: readonly RetryDelay[];
  /** Transactions at once. */
  concurrency: number;
  /** ms; an older event is refused, for the inbox may have forgotten it. */
  retention: number;
  /** ms a handler may take. */
  timeout: number;
  log: Logger;
  metrics: Metrics;
  now: () => Date;
}

/** Attempts of an event for which the database is away while it answers others. */
const ALONE = 3;
/** ms */
const PROBE_TIMEOUT = 5_000;

export class Consumer {
  readonly #options: ConsumerOptions;
  readonly #stopping = new AbortController();
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(options: ConsumerOptions) {
    this.#options = options;
    const { queue, subscriptions, producers, metrics } = options;
    producers.expect(queue);
    // A counter that begins with its first event has no rate for it.
    for (const type of new Set(subscriptions.map(({ event }) => event.type)))
      for (const outcome of OUTCOMES) metrics.eventsConsumed.inc({ queue, type, outcome }, 0);
  }

  attach(session: RascalSession): void {
    const lost = new AbortController();
    for (const event of ['error', 'close', 'cancel']) session.on(event, () => lost.abort());
    const signal = AbortSignal.any([lost.signal, this.#stopping.signal]);
    const take = (message: RascalMessage, _content: unknown, ackOrNack: AckOrNack) => {
      let settled = false;
      // Once; and not after the connection is lost: the broker has it back, and Rascal would take the attempt for an error.
      const settle: AckOrNack = (...how) => {
        if (settled || lost.signal.aborted) return;
        settled = true;
        ackOrNack(...how);
      };
      const delivery = { message, ackOrNack: settle, signal, lost: lost.signal };
      this.#take(delivery).catch((error) => {
        const { queue, log } = this.#options;
        log.error(
          { err: error, queue },
          'the consumer failed over a message; the broker dead-letters it as it is',
        );
        settle(asError(error), [{ strategy: 'nack' }]);
      });
    };
    session.on('message', take);
    // What Rascal cannot decode is judged here, like everything else.
    session.on('invalid_content', (_error: Error, message: RascalMessage, ackOrNack: AckOrNack) =>
      take(message, undefined, ackOrNack),
    );
  }

  /** Gives up waiting for a database that is away; what is in hand goes back to the broker. */
  stop(): void {
    this.#stopping.abort();
  }

  async #take(delivery: Delivery): Promise<void> {
    if (this.#running >= this.#options.concurrency)
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running += 1;
    let forward: Forward | undefined;
    try {
      // The broker delivers again what was in hand when the connection went.
      if (!delivery.lost.aborted) forward = await this.#process(delivery);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
    // A broker that blocks publishers takes no failed message, and the others are to be handled meanwhile.
    await forward?.();
  }

  /** @returns what is left to do with a message that failed */
  async #process(delivery: Delivery): Promise<Forward | undefined> {
    const { message, ackOrNack, signal } = delivery;
    const { queue, log, metrics, now } = this.#options;
    const started = performance.now();
    const type = this.#options.subscriptions[0]?.event.type as string;
    const count: Count = (outcome) => metrics.eventsConsumed.inc({ queue, type, outcome });

    const from = this.#options.subscriptions[0]?.event.from as string;
    const forged = this.#options.producers.refuseEvent(message, queue, from);
    if (forged !== undefined) {
      const failure = { reason: 'forged', error: forged, at: now() };
      return () => this.#deadLetter(delivery, failure, log, count);
    }
    let event: CloudEvent;
    try {
      event = this.#parse(message);
    } catch (error) {
      const reason = error instanceof ContractError ? error.code : 'expired';
      const failure = { reason, error: asError(error), at: now() };
      return () => this.#deadLetter(delivery, failure, log, count);
    }

    const traceId = traceIdOf(event.traceparent);
    const bound = log.child({
      eventId: event.id,
      eventType: event.type,
      correlationId: event.correlationid ?? event.id,
      ...(traceId !== undefined && { traceId }),
    });
    const delays = backoff({ min: 100, max: 5_000 });
    let outcome: 'handled' | 'duplicate' | undefined;
    for (let alone = 0; outcome === undefined; ) {
      try {
        outcome = await this.#handle(event, bound);
      } catch (error) {
        // Without its database nothing can be handled: wait, rather than march every message up the ladder. But a database that
        // is away for this one alone, again and again, is not what is wrong.
        if (!(await this.#isAway(error, bound)) || alone === ALONE) {
          const failure = { reason: 'handler_failed', error: asError(error), at: now() };
          return () => this.#fail(delivery, failure, bound, count);
        }
        await pause(delays.next(), signal);
        if (signal.aborted) {
          giveBack(delivery);
          return;
        }
        if (await this.#databaseAnswers(bound)) alone += 1;
      }
    }
    ackOrNack();
    count(outcome);
    const seconds = (performance.now() - started) / 1000;
    metrics.eventHandlingDuration.observe({ queue, type }, seconds);
    if (outcome === 'handled')
      metrics.eventLag.observe({ queue, type }, Math.max(0, now().getTime() - Date.parse(event.time)) / 1000);
    bound.info({ queue, outcome, ms: Math.round(seconds * 1e6) / 1e3 }, 'event');
  }

  /** A database that says nothing any more shows as a handler that takes too long. */
  async #isAway(error: unknown, log: Logger): Promise<boolean> {
    if (isDatabaseUnavailable(error)) return true;
    return error instanceof Error && error.name === 'TimeoutError' && !(await this.#databaseAnswers(log));
  }

  async #databaseAnswers(log: Logger): Promise<boolean> {
    const origin = { correlationId: 'consumer', log, signal: AbortSignal.timeout(PROBE_TIMEOUT) };
    try {
      return await this.#options.units.work(origin, async ({ transaction }) => {
        const { rows } = await sql<{ writable: boolean }>`
          select current_setting('transaction_read_only') = 'off' as writable`.execute(transaction);
        return rows[0]?.writable === true;
      });
    } catch {
      return false;
    }
  }

  /** @throws {ContractError}, or {Error} when the event is too old */
  #parse(message: RascalMessage): CloudEvent {
    const { subscriptions, retention, now } = this.#options;
    const event = parseEvent(
      message.content,
      subscriptions.map(({ event }) => event),
      publishedAt(message, now()),
    );
    if (!(Date.parse(event.time) >= now().getTime() - retention))
      throw new Error(`the event is of ${event.time}, older than the inbox remembers`);
    return event;
  }

  #handle(event: CloudEvent, log: Logger): Promise<'handled' | 'duplicate'> {
    const { queue, subscriptions, units, timeout } = this.#options;
    const { handle } = subscriptions.find(
      ({ event: { dataschema } }) => dataschema === event.dataschema,
    ) as Subscription;
    const attributes = {
      'messaging.system': 'rabbitmq',
      'messaging.destination.name': queue,
      'messaging.message.id': event.id,
    };
    return withSpan(
      `${queue} process`,
      { kind: SpanKind.CONSUMER, attributes, parent: event.traceparent },
      () =>
        units.work(
          {
            correlationId: event.correlationid ?? event.id,
            ...(event.traceparent !== undefined && { traceparent: event.traceparent }),
            log,
            signal: AbortSignal.timeout(timeout),
          },
          async (work) => {
            if (!(await remember(work.transaction, queue, inboxId(event)))) return 'duplicate';
            await handle(event, work);
            return 'handled';
          },
        ),
    );
  }

  async #fail(delivery: Delivery, failure: Failure, log: Logger, count: Count): Promise<void> {
    const { queue, forwarder, retryDelays } = this.#options;
    const { message } = delivery;
    const attempts = attemptsOf(message);
    const delay = retryDelays[attempts];
    if (delay === undefined) return this.#deadLetter(delivery, failure, log, count);
    await this.#forward(
      delivery,
      log,
      () => forwarder.retry(message, queue, delay, failure),
      () => {
        count('retried');
        log.warn(
          { err: failure.error, queue, attempt: attempts + 1, delay: delay.name },
          'handling failed; it will be tried again',
        );
      },
    );
  }

  async #deadLetter(delivery: Delivery, failure: Failure, log: Logger, count: Count): Promise<void> {
    const { queue, forwarder } = this.#options;
    const { message } = delivery;
    await this.#forward(
      delivery,
      log,
      () => forwarder.deadLetter(message, queue, failure),
      () => {
        count('dead');
        // Reported already, at a bounded rate: a forger must not fill the log.
        if (failure.reason === 'forged') return;
        log.error(
          { err: failure.error, queue, reason: failure.reason, messageId: message.properties.messageId },
          'dead-lettered',
        );
      },
    );
  }

  /** The original is acknowledged when its copy is confirmed, and not before. */
  async #forward(
    { ackOrNack, signal, lost }: Delivery,
    log: Logger,
    send: () => Promise<void>,
    done: () => void,
  ): Promise<void> {
    const delays = backoff({ min: 100, max: 5_000 });
    for (;;) {
      try {
        await send();
        break;
      } catch (error) {
        // Where the exchange, the binding or the permission is missing, that is what has to be mended, and is.
        if (error instanceof PublishError && error.isAboutTheMessage) {
          log.error(
            { err: error },
            'a failed message could not be forwarded; the broker dead-letters it as it is',
          );
          return ackOrNack(error, [{ strategy: 'nack' }]);
        }
        await pause(delays.next(), signal);
        if (signal.aborted) return giveBack({ ackOrNack, lost });
      }
    }
    ackOrNack();
    done();
  }
}

interface Delivery {
  message: RascalMessage;
  ackOrNack: AckOrNack;
  /** Aborts when this delivery is lost, or the consumer stops: do not wait any longer. */
  signal: AbortSignal;
  lost: AbortSignal;
}

/** To the broker, which delivers it to another replica, or later. Not a retry: only when this process ends. */
function giveBack({ ackOrNack, lost }: Pick<Delivery, 'ackOrNack' | 'lost'>): void {
  if (!lost.aborted) ackOrNack(new Error('this consumer is stopping'), [{ strategy: 'nack', requeue: true }]);
}

type Forward = () => Promise<void>;

const OUTCOMES = ['handled', 'duplicate', 'retried', 'dead'] as const;
type Count = (outcome: (typeof OUTCOMES)[number]) => void;
