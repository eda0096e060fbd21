// What happens to one message: checked against its contract, handled once in one transaction, acknowledged; or retried, or
// dead-lettered. Handlers know nothing of it.
import {
  type AnyEvent,
  type CloudEvent,
  ContractError,
  type EventDefinition,
  parseEvent,
} from '@warren/contracts';
import { backoff, pause } from '../backoff.ts';
import type { Logger, Units, Work } from '../context.ts';
import type { Availability } from '../database/availability.ts';
import { isDatabaseUnavailable } from '../database/outage.ts';
import { asError } from '../errors.ts';
import { inboxId, remember } from '../inbox/inbox.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { SpanKind, traceIdOf, withSpan } from '../telemetry/tracing.ts';
import { PublishError } from './confirms.ts';
import { attemptsOf, deliveriesOf, type Failure, type Forwarder, publishedAt } from './forwarder.ts';
import type { Intake, Taker } from './intake.ts';
import type { Producers } from './producers.ts';
import type { AckOrNack, RascalMessage, RascalSession } from './rascal.ts';
import { DELIVERY_LIMIT, type RetryDelay } from './topology.ts';

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
  availability: Pick<Availability, 'check'>;
  intake: Pick<Intake, 'add' | 'claim' | 'isClosed'>;
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

/** Attempts of an event that meets an outage of the database while a probe succeeds. */
const ALONE = 3;
/** Deliveries that a message has behind it when it may be what ended its consumers: from then on it is handled alone. */
const SUSPECT = 2;

export class Consumer implements Taker {
  readonly #options: ConsumerOptions;
  readonly #stopping = new AbortController();
  /** What this consumer answers for, in the order of arrival. */
  readonly #held = new Set<Delivery>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #interrupting = new AbortController();
  #emptying: Promise<void> = Promise.resolve();

  constructor(options: ConsumerOptions) {
    this.#options = options;
    const { queue, subscriptions, producers, metrics, intake } = options;
    producers.expect(queue);
    intake.add(this);
    // A counter that begins with its first event has no rate for it.
    for (const type of new Set(subscriptions.map(({ event }) => event.type)))
      for (const outcome of OUTCOMES) metrics.eventsConsumed.inc({ queue, type, outcome }, 0);
  }

  get queue(): string {
    return this.#options.queue;
  }

  /** @param releasing aborts when this session's connection is about to be closed */
  attach(session: RascalSession, releasing: AbortSignal): void {
    const lost = new AbortController();
    for (const event of ['error', 'close', 'cancel']) session.on(event, () => lost.abort());
    const signal = AbortSignal.any([lost.signal, releasing, this.#stopping.signal]);
    const take = (message: RascalMessage, _content: unknown, ackOrNack: AckOrNack) => {
      // Once; and not after the connection is lost: the broker has it back, and Rascal would take the attempt for an error.
      const settle: AckOrNack = (...how) => {
        if (!this.#held.delete(delivery) || lost.signal.aborted) return;
        ackOrNack(...how);
      };
      const delivery: Delivery = { message, ackOrNack: settle, signal, lost: lost.signal, isAlone: false };
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

  /** Waits no longer for anything; what waits is requeued. */
  stop(): void {
    this.#stopping.abort();
  }

  interrupt(): void {
    this.#interrupting.abort(new Interrupted());
    this.#interrupting = new AbortController();
  }

  empty(): Promise<void> {
    this.#emptying = this.#emptying.then(() => this.#returnHeld());
    return this.#emptying;
  }

  async #take(delivery: Delivery): Promise<void> {
    const { message } = delivery;
    this.#held.add(delivery);
    // On arrival, not when its turn comes: what is returned to its queue goes out under this service's name.
    const judged = this.#judge(message);
    if (judged.failure !== undefined) {
      delivery.isForwarded = true;
      return this.#deadLetter(delivery, judged.failure, this.#options.log);
    }
    const handling = this.#handleInTurn(delivery, judged.event);
    delivery.done = handling;
    const forward = await handling;
    if (forward !== undefined) return forward();
    if (this.#held.has(delivery)) await this.empty();
  }

  /** @returns its event; or why it can never be handled */
  #judge(message: RascalMessage): { event: CloudEvent; failure?: undefined } | { failure: Failure } {
    const { producers, queue, subscriptions } = this.#options;
    const at = this.#options.now();
    const forged = producers.refuseEvent(message, queue, subscriptions[0]?.event.from as string);
    if (forged !== undefined) return { failure: { reason: 'forged', error: forged, at } };
    try {
      if (deliveriesOf(message) > DELIVERY_LIMIT) {
        const error = new Error(`it was delivered more than ${DELIVERY_LIMIT} times, and never settled`);
        return { failure: { reason: 'delivery_limit', error, at } };
      }
      return { event: this.#parse(message) };
    } catch (error) {
      const reason = error instanceof ContractError ? error.code : 'expired';
      return { failure: { reason, error: asError(error), at } };
    }
  }

  /** @returns what is left to do with a message that failed; without it, the message is settled, or to be returned */
  async #handleInTurn(delivery: Delivery, event: CloudEvent): Promise<Forward | undefined> {
    const { intake, log, queue } = this.#options;
    const deliveries = deliveriesOf(delivery.message);
    if (deliveries < SUSPECT) return this.#inSlot(delivery, event);
    delivery.isAlone = true;
    const release = await intake.claim(queue);
    if (release === undefined) {
      delivery.isAlone = false;
      return undefined;
    }
    log.warn({ queue, eventId: event.id, deliveries }, 'an event that was delivered before is handled alone');
    try {
      return await this.#inSlot(delivery, event);
    } finally {
      delivery.isAlone = false;
      release();
    }
  }

  async #inSlot(delivery: Delivery, event: CloudEvent): Promise<Forward | undefined> {
    const { concurrency, intake, queue } = this.#options;
    if (this.#running >= concurrency) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running += 1;
    try {
      // The broker delivers again what was held when the connection was lost.
      if (!this.#held.has(delivery) || delivery.lost.aborted) return undefined;
      if (!delivery.isAlone && intake.isClosed(queue)) return undefined;
      return await this.#process(delivery, event);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }

  /** @returns what is left to do with a message that failed; without it, the message is settled, or to be returned */
  async #process(delivery: Delivery, event: CloudEvent): Promise<Forward | undefined> {
    const { ackOrNack, signal } = delivery;
    const { queue, log, metrics, now, availability, intake } = this.#options;
    const started = performance.now();
    const { type } = event;
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
        if (error instanceof Interrupted) return undefined;
        const isOutage = isDatabaseUnavailable(error);
        // A database that has gone silent shows as a handler that takes too long. Without its database nothing can be handled:
        // the message is returned, rather than marched up the ladder.
        if ((isOutage || isTimeout(error)) && !(await availability.check(error))) return undefined;
        // But a database that is unavailable to this one alone, again and again, is not to blame.
        if (!isOutage || alone === ALONE) {
          const failure = { reason: 'handler_failed', error: asError(error), at: now() };
          delivery.isForwarded = true;
          return () => this.#fail(delivery, failure, bound);
        }
        alone += 1;
        await pause(delays.next(), signal);
        if (signal.aborted) requeue(delivery);
        if (signal.aborted || (!delivery.isAlone && intake.isClosed(queue))) return undefined;
      }
    }
    ackOrNack();
    this.#count(outcome);
    const seconds = (performance.now() - started) / 1000;
    metrics.eventHandlingDuration.observe({ queue, type }, seconds);
    if (outcome === 'handled')
      metrics.eventLag.observe({ queue, type }, Math.max(0, now().getTime() - Date.parse(event.time)) / 1000);
    bound.info({ queue, outcome, ms: Math.round(seconds * 1e6) / 1e3 }, 'event');
    return undefined;
  }

  /** In the order of arrival, once none of them is being handled any more. */
  async #returnHeld(): Promise<void> {
    const { queue, log } = this.#options;
    const toReturn = () =>
      [...this.#held].filter(({ isAlone, isForwarded }) => !isAlone && isForwarded !== true);
    await Promise.allSettled(toReturn().map(({ done }) => done));
    const left = toReturn();
    const returned = (await Promise.all(left.map((delivery) => this.#return(delivery)))).filter(Boolean);
    if (returned.length > 0)
      log.info({ queue, returned: returned.length }, 'deliveries returned to their queue');
  }

  /**
   * To the end of its queue by a confirmed publish, then the ack: a requeue would count against the message (up to RabbitMQ
   * 4.2). Where the broker does not take it, it is requeued all the same.
   * @returns whether it was returned
   */
  async #return(delivery: Delivery): Promise<boolean> {
    const { queue, forwarder, log } = this.#options;
    const { message, ackOrNack, signal, lost } = delivery;
    const delays = backoff({ min: 100, max: 5_000 });
    while (!lost.aborted) {
      try {
        await forwarder.giveBack(message, queue);
        ackOrNack();
        return true;
      } catch (error) {
        if (error instanceof PublishError && error.reason !== 'lost') {
          log.warn({ err: error, queue }, 'cannot return a delivery by a publish; requeueing it');
          requeue(delivery);
          return false;
        }
        await pause(delays.next(), signal);
        if (signal.aborted) requeue(delivery);
        if (signal.aborted) return false;
      }
    }
    // The broker has it.
    this.#held.delete(delivery);
    return false;
  }

  #count(outcome: (typeof OUTCOMES)[number]): void {
    const { queue, subscriptions, metrics } = this.#options;
    metrics.eventsConsumed.inc({ queue, type: subscriptions[0]?.event.type as string, outcome });
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
            signal: AbortSignal.any([AbortSignal.timeout(timeout), this.#interrupting.signal]),
          },
          async (work) => {
            if (!(await remember(work.transaction, queue, inboxId(event)))) return 'duplicate';
            await handle(event, work);
            return 'handled';
          },
        ),
    );
  }

  async #fail(delivery: Delivery, failure: Failure, log: Logger): Promise<void> {
    const { queue, forwarder, retryDelays } = this.#options;
    const { message } = delivery;
    const attempts = attemptsOf(message);
    const delay = retryDelays[attempts];
    if (delay === undefined) return this.#deadLetter(delivery, failure, log);
    await this.#forward(
      delivery,
      log,
      () => forwarder.retry(message, queue, delay, failure),
      () => {
        this.#count('retried');
        log.warn(
          { err: failure.error, queue, attempt: attempts + 1, delay: delay.name },
          'handling failed; it will be tried again',
        );
      },
    );
  }

  async #deadLetter(delivery: Delivery, failure: Failure, log: Logger): Promise<void> {
    const { queue, forwarder } = this.#options;
    const { message } = delivery;
    await this.#forward(
      delivery,
      log,
      () => forwarder.deadLetter(message, queue, failure),
      () => {
        this.#count('dead');
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
    delivery: Delivery,
    log: Logger,
    send: () => Promise<void>,
    done: () => void,
  ): Promise<void> {
    const { ackOrNack, signal } = delivery;
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
        if (signal.aborted) return requeue(delivery);
      }
    }
    ackOrNack();
    done();
  }
}

interface Delivery {
  message: RascalMessage;
  ackOrNack: AckOrNack;
  /** Aborts when this delivery is lost or about to be, or the consumer stops: do not wait any longer. */
  signal: AbortSignal;
  lost: AbortSignal;
  /** Handled while this process holds no other. */
  isAlone: boolean;
  /** On its way to the ladder or the dead-letter queue. */
  isForwarded?: boolean;
  /** Settles when it is not being handled any more. */
  done?: Promise<unknown>;
}

/** To the broker, which delivers it to another replica, or later. Not a retry. */
function requeue({ ackOrNack }: Pick<Delivery, 'ackOrNack'>): void {
  ackOrNack(new Error('this consumer does not handle it now'), [{ strategy: 'nack', requeue: true }]);
}

/** The database has become unavailable meanwhile. */
class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

const isTimeout = (error: unknown): boolean => error instanceof Error && error.name === 'TimeoutError';

type Forward = () => Promise<void>;

const OUTCOMES = ['handled', 'duplicate', 'retried', 'dead'] as const;
