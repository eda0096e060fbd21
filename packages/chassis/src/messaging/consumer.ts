// What happens to the messages of one queue: each is checked against its contract on arrival; what has arrived when the last batch
// is through is handled in one transaction, each event once, and acknowledged. A batch that fails is rolled back and redone in
// parts, until each message that fails is alone: that one is retried, or dead-lettered. Handlers know nothing of it.
import { type AnyEvent, type CloudEvent, ContractError, parseEvent } from '@warren/events';
import { backoff } from '../backoff.ts';
import { pause, timeLimit } from '../concurrency.ts';
import {
  BatchError,
  type Logger,
  type Origin,
  type PieceOfWork,
  type UnitsOfWork,
  type WorkContext,
} from '../context.ts';
import type { Availability } from '../database/availability.ts';
import { isDatabaseUnavailable } from '../database/outage.ts';
import { asError } from '../errors.ts';
import { type InboxRow, inboxId, insertMessages } from '../inbox/inbox.ts';
import { inParts, runBatches } from '../parts.ts';
import { childOf } from '../telemetry/log.ts';
import type { Counter, Metrics } from '../telemetry/metrics.ts';
import { SpanKind, traceIdOf, withSpan } from '../telemetry/tracing.ts';
import { isLostRace } from '../units-of-work.ts';
import { Acks } from './acks.ts';
import { type Delivery, requeue } from './deliveries.ts';
import { FailedDeliveries } from './failed.ts';
import {
  attemptsOf,
  deliveriesOf,
  type FailedMessagePublisher,
  type Failure,
  failuresOf,
  publishedAt,
} from './failed-message-publisher.ts';
import type { Intake, Taker } from './intake.ts';
import type { Producers } from './producers.ts';
import type { AckOrNack, RascalMessage, RascalSession } from './rascal.ts';
import type { RetryDelay } from './retry-delays.ts';

/**
 * Handles one event in a transaction: its effect, the events it emits and the tasks it schedules commit together, once per
 * event however often it is delivered. It does database work only; what acts on the outside is scheduled as a task. The
 * transaction may be shared with other events, and is redone without them when one of them fails: no savepoints, no `set local`.
 * Events may arrive in any order. An error means: roll back, and try again later.
 */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export type Handler<Data extends object, Schema = any, Config = any> = (
  event: CloudEvent<Data>,
  work: WorkContext<Schema, Config>,
) => Promise<void>;

/** A handler and the event that it handles. */
export interface BoundHandler {
  event: AnyEvent;
  // biome-ignore lint/suspicious/noExplicitAny: handlers of different events stand in one list
  handle: Handler<any, any, any>;
  /** What it locks. Default: the event's subject. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  key?: (event: CloudEvent<any>) => string;
}

export interface ConsumerOptions {
  queue: string;
  /** Versions of one event type, each with its handler. */
  handlers: readonly BoundHandler[];
  units: UnitsOfWork;
  availability: Pick<Availability, 'check'>;
  intake: Pick<Intake, 'add' | 'claim' | 'isClosed'>;
  failedMessages: FailedMessagePublisher;
  producers: Producers;
  /** Deliveries of one message before it is taken for one that crashes its consumer. */
  deliveryLimit: number;
  retryDelays: readonly RetryDelay[];
  /** Transactions at once, when the first ones are slow. */
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
const OUTAGE_ATTEMPTS = 3;
/** Deliveries that a message has behind it when it may be what ended its consumers: from then on it is handled alone. */
const SUSPECT_DELIVERIES = 2;
/** Messages, and bytes of them, in one transaction: half of what the broker hands over, so that the other half arrives meanwhile. */
const BATCH_LIMIT = { messages: 100, bytes: 4 * 1024 * 1024 };
/** ms that a batch may take before it is redone in parts; a handler alone has `timeout`. */
const BATCH_TIMEOUT_MS = 5_000;
/** ms after which a batch is slow, and does not hold up the next one any more. */
const SLOW_BATCH_MS = 250;

/** An event in a batch. */
interface Piece extends PieceOfWork {
  arrival: Arrival;
  event: CloudEvent;
  inboxId: string;
}

/** A delivery that can be handled. */
interface Arrival extends Delivery {
  piece: Piece;
}

export class Consumer implements Taker {
  readonly #options: ConsumerOptions;
  readonly #failed: FailedDeliveries;
  readonly #metrics: QueueMetrics;
  readonly #stopping = new AbortController();
  /** What this consumer answers for, in the order of arrival. */
  readonly #held = new Set<Delivery>();
  /** Of these, what waits for its batch. */
  #arrived: Arrival[] = [];
  readonly #startBatches: () => void;
  /** Messages in the next batch at most: fewer after one that took too long. */
  #size = BATCH_LIMIT.messages;
  #interrupting = new AbortController();
  #emptying: Promise<void> = Promise.resolve();

  constructor(options: ConsumerOptions) {
    this.#options = options;
    const { queue, handlers, producers, metrics, intake, failedMessages, retryDelays, log } = options;
    this.#metrics = metricsOf(metrics, { queue, type: handlers[0]?.event.type as string });
    this.#failed = new FailedDeliveries({
      queue,
      failedMessages,
      retryDelays,
      log,
      count: (outcome) => this.#metrics.consumed[outcome].inc(),
      forget: (delivery) => this.#held.delete(delivery),
    });
    this.#startBatches = runBatches({
      next: () => this.#next(),
      run: (batch) => this.#run(batch),
      slow: SLOW_BATCH_MS,
      atOnce: options.concurrency,
    });
    producers.expect(queue);
    intake.add(this);
  }

  get queue(): string {
    return this.#options.queue;
  }

  /** @param releasing aborts when this session's connection is about to be closed */
  attach(session: RascalSession, releasing: AbortSignal): void {
    const lost = new AbortController();
    for (const event of ['error', 'close', 'cancel']) session.on(event, () => lost.abort());
    const signal = AbortSignal.any([lost.signal, releasing, this.#stopping.signal]);
    const acks = session.channel && new Acks(session, session.channel);
    const take = (message: RascalMessage, _content: unknown, ackOrNack: AckOrNack) => {
      acks?.add(message);
      // Once; and not after the connection is lost: the broker has it back, and Rascal would take the attempt for an error.
      const settle: AckOrNack = (...how) => {
        if (!this.#held.delete(delivery) || lost.signal.aborted) return;
        acks?.remove(message);
        ackOrNack(...how);
      };
      const delivery: Delivery = {
        message,
        ackOrNack: settle,
        acks,
        signal,
        lost: lost.signal,
        isAlone: false,
        isForwarded: false,
      };
      this.#take(delivery).catch((error) => {
        const { queue, log } = this.#options;
        log.error({ err: error, queue }, 'consumer error; message rejected to its dead-letter queue');
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
      return this.#failed.deadLetter(delivery, judged.failure, this.#options.log);
    }
    const arrival = this.#arrivalOf(delivery, judged.event);
    if (arrival === undefined) return;
    if (deliveriesOf(message) >= SUSPECT_DELIVERIES) return this.#handleSuspect(arrival);
    this.#arrived.push(arrival);
    this.#startBatches();
  }

  /** @returns undefined when its key cannot be told: a mistake of the service, as one in a handler */
  #arrivalOf(delivery: Delivery, event: CloudEvent): Arrival | undefined {
    const { log, now } = this.#options;
    try {
      return Object.assign(delivery, { piece: this.#pieceOf(delivery, event) }) as Arrival;
    } catch (error) {
      delivery.isForwarded = true;
      void this.#fail(delivery, { reason: 'handler_failed', error: asError(error), at: now() }, log);
      return undefined;
    }
  }

  /** @returns its event; or why it can never be handled */
  #judge(message: RascalMessage): { event: CloudEvent; failure?: undefined } | { failure: Failure } {
    const { producers, queue, handlers, deliveryLimit } = this.#options;
    const at = this.#options.now();
    const forged = producers.refuseEvent(message, queue, handlers[0]?.event.from as string);
    if (forged !== undefined) return { failure: { reason: 'forged', error: forged, at } };
    try {
      if (deliveriesOf(message) > deliveryLimit) {
        const error = new Error(`it was delivered more than ${deliveryLimit} times, and never settled`);
        return { failure: { reason: 'delivery_limit', error, at } };
      }
      return { event: this.#parse(message) };
    } catch (error) {
      const reason = error instanceof ContractError ? error.code : 'expired';
      return { failure: { reason, error: asError(error), at } };
    }
  }

  // --- Batches ---

  /** What has arrived, up to a number and a size. */
  #next(): Arrival[] {
    const batch: Arrival[] = [];
    const { intake, queue } = this.#options;
    if (intake.isClosed(queue)) {
      // In flight when the consumer was cancelled.
      if (this.#arrived.splice(0).length > 0) void this.empty();
      return batch;
    }
    let bytes = 0;
    let taken = 0;
    for (const arrival of this.#arrived) {
      if (batch.length === this.#size || bytes >= BATCH_LIMIT.bytes) break;
      taken += 1;
      if (!this.#isWaiting(arrival)) continue;
      batch.push(arrival);
      bytes += arrival.message.content.length;
    }
    this.#arrived.splice(0, taken);
    return batch;
  }

  /** Not returned meanwhile, and not back at the broker, which delivers again what was held when the connection was lost. */
  #isWaiting(delivery: Delivery): boolean {
    return this.#held.has(delivery) && !delivery.isForwarded && !delivery.lost.aborted;
  }

  /** What is neither done nor set aside as failed is returned, once the batch has ended. */
  async #run(batch: readonly Arrival[]): Promise<void> {
    const { queue, log } = this.#options;
    const done = this.#handleInParts(batch).catch((error) =>
      log.error({ err: error, queue }, 'consumer error; batch returned to its queue'),
    );
    for (const arrival of batch) arrival.done = done;
    await done;
    for (const delivery of batch) if (delivery.lost.aborted) this.#held.delete(delivery);
    if (batch.some((delivery) => this.#held.has(delivery) && !delivery.isForwarded)) void this.empty();
  }

  #handleInParts(arrivals: readonly Arrival[]): Promise<void> {
    const { availability, concurrency } = this.#options;
    return inParts(
      arrivals.map(({ piece }) => piece),
      {
        together: (pieces) => this.#handleTogether(pieces),
        alone: (piece) => this.#handleAlone(piece),
        concurrency,
        isLeft: ({ arrival }) => !this.#isClosedTo(arrival),
        goesOn: async (cause) => {
          if (cause instanceof Interrupted) return false;
          if (isTimeout(cause)) this.#size = Math.max(1, Math.floor(this.#size / 2));
          return (!isDatabaseUnavailable(cause) && !isTimeout(cause)) || availability.check(cause);
        },
      },
    );
  }

  /** Nothing of this queue may be handled now, but what is handled alone; or the broker has it back. */
  #isClosedTo(arrival: Arrival): boolean {
    if (!this.#held.has(arrival) || arrival.lost.aborted) return true;
    const { intake, queue } = this.#options;
    return !arrival.isAlone && intake.isClosed(queue);
  }

  async #handleTogether(pieces: readonly Piece[]): Promise<void> {
    const started = performance.now();
    const handled = await this.#runBatch(pieces, BATCH_TIMEOUT_MS);
    const ms = performance.now() - started;
    this.#size = Math.min(BATCH_LIMIT.messages, this.#size * 2);
    this.#acknowledge(pieces.map(({ arrival }) => arrival));
    for (const piece of pieces) this.#report(piece, handled.has(piece) ? 'handled' : 'duplicate', ms);
  }

  /**
   * In one transaction: their ids, the handlers, and what these leave.
   * @returns those that were handled; the others had been before
   */
  async #runBatch(pieces: readonly Piece[], timeout: number): Promise<ReadonlySet<Piece>> {
    const { queue, units } = this.#options;
    const interrupted = this.#interrupting.signal;
    const handled = new Set<Piece>();
    const limit = timeLimit(timeout);
    try {
      await units.batch(pieces, {
        signal: AbortSignal.any([limit.signal, interrupted]),
        optimistic: pieces.every(({ arrival }) => arrival.message.fields.redelivered === false),
        first: async (run) => {
          handled.clear();
          const { rows } = await run(insertMessages(queue, pieces.map(inboxRowOf)));
          const fresh = new Set(rows.map(({ message_id: id }) => id as string));
          // Of one that is here twice, the first.
          for (const piece of pieces) if (fresh.delete(piece.inboxId)) handled.add(piece);
          return [...handled];
        },
      });
    } catch (error) {
      // Also where a handler failed because of it.
      throw interrupted.aborted ? interrupted.reason : error;
    } finally {
      limit.clear();
    }
    return handled;
  }

  #pieceOf(delivery: Delivery, event: CloudEvent): Piece {
    const { queue, handlers, log } = this.#options;
    const { handle, key } = handlers.find(
      ({ event: { dataschema } }) => dataschema === event.dataschema,
    ) as BoundHandler;
    const attributes = {
      'messaging.system': 'rabbitmq',
      'messaging.destination.name': queue,
      'messaging.message.id': event.id,
    };
    return {
      arrival: delivery as Arrival,
      event,
      inboxId: inboxId(event),
      key: key?.(event) ?? event.subject ?? event.id,
      origin: originOf(event, log),
      run: (work) =>
        withSpan(`${queue} process`, { kind: SpanKind.CONSUMER, attributes, parent: event.traceparent }, () =>
          handle(event, work),
        ),
    };
  }

  #acknowledge(arrivals: readonly Arrival[]): void {
    const ranged = Map.groupBy(arrivals, ({ acks }) => acks);
    for (const [acks, deliveries] of ranged) {
      if (acks === undefined) for (const { ackOrNack } of deliveries) ackOrNack();
      // Once, and not what is lost.
      else
        acks.ack(
          deliveries
            .filter((each) => this.#held.delete(each) && !each.lost.aborted)
            .map((each) => each.message),
        );
    }
  }

  #report({ event }: Piece, outcome: 'handled' | 'duplicate', ms: number): void {
    const { queue, log, now } = this.#options;
    const { consumed, duration, lag } = this.#metrics;
    consumed[outcome].inc();
    duration.observe(ms / 1_000);
    if (outcome === 'handled') lag.observe(Math.max(0, now().getTime() - Date.parse(event.time)) / 1_000);
    log.info({ ...fieldsOf(event), queue, outcome, ms: Math.round(ms * 1e3) / 1e3 }, 'event');
  }

  // --- One alone ---

  /** A message that may have ended its process is handled while this process holds no other. */
  async #handleSuspect(arrival: Arrival): Promise<void> {
    const { intake, log, queue } = this.#options;
    arrival.isAlone = true;
    const release = await intake.claim(queue);
    if (release !== undefined) {
      const { piece, message } = arrival;
      const deliveries = deliveriesOf(message);
      log.warn({ queue, eventId: piece.event.id, deliveries }, 'handling a redelivered event alone');
      if (!this.#isClosedTo(arrival)) arrival.done = this.#handleAlone(arrival.piece);
      await arrival.done;
    }
    arrival.isAlone = false;
    release?.();
    if (this.#held.has(arrival) && !arrival.isForwarded) await this.empty();
  }

  /** Until it is settled, set aside as failed, or to be returned. */
  async #handleAlone(piece: Piece): Promise<void> {
    const { arrival } = piece;
    const { signal } = arrival;
    const { now, availability, timeout } = this.#options;
    const delays = backoff({ min: 100, max: 5_000 });
    const started = performance.now();
    for (let alone = 0; ; alone += 1) {
      try {
        const handled = await this.#runBatch([piece], timeout);
        this.#acknowledge([arrival]);
        return this.#report(piece, handled.has(piece) ? 'handled' : 'duplicate', performance.now() - started);
      } catch (thrown) {
        if (thrown instanceof Interrupted) return;
        const error = thrown instanceof BatchError ? thrown.cause : thrown;
        const isOutage = isDatabaseUnavailable(error);
        // A database that has gone silent shows as a handler that takes too long. Without its database nothing can be handled:
        // the message is returned, rather than marched up the ladder.
        if ((isOutage || isTimeout(error)) && !(await availability.check(error))) return;
        // But a database that is unavailable to this one alone, again and again, is not to blame; nor is one that lost a race.
        if ((!isOutage && !isLostRace(error)) || alone === OUTAGE_ATTEMPTS) {
          arrival.isForwarded = true;
          const failure = { reason: 'handler_failed', error: asError(error), at: now() };
          // Nobody waits for it.
          void this.#fail(arrival, failure, piece.origin.log);
          return;
        }
        await pause(delays.next(), signal);
        if (signal.aborted) requeue(arrival);
        if (signal.aborted || this.#isClosedTo(arrival)) return;
      }
    }
  }

  async #fail(delivery: Delivery, failure: Failure, log: Logger): Promise<void> {
    try {
      await this.#failed.fail(delivery, failure, log);
    } catch (error) {
      log.error({ err: error }, 'consumer error; message rejected to its dead-letter queue');
      delivery.ackOrNack(asError(error), [{ strategy: 'nack' }]);
    }
  }

  // --- What is returned ---

  /** In the order of arrival, once none of them is being handled any more. */
  async #returnHeld(): Promise<void> {
    const { queue, log } = this.#options;
    const toReturn = () => [...this.#held].filter(({ isAlone, isForwarded }) => !isAlone && !isForwarded);
    await Promise.allSettled(toReturn().map(({ done }) => done));
    const left = toReturn();
    for (const delivery of left) delivery.isForwarded = true;
    const returned = (await Promise.all(left.map((delivery) => this.#failed.return(delivery)))).filter(
      Boolean,
    );
    if (returned.length > 0)
      log.info({ queue, returned: returned.length }, 'deliveries returned to their queue');
  }

  /** @throws {ContractError}, or {Error} when the event is too old */
  #parse(message: RascalMessage): CloudEvent {
    const { handlers, retention, now } = this.#options;
    const event = parseEvent(
      message.content,
      handlers.map(({ event }) => event),
      publishedAt(message, now()),
    );
    if (!(Date.parse(event.time) >= now().getTime() - retention))
      throw new Error(`the event is of ${event.time}, older than the inbox remembers`);
    return event;
  }
}

const inboxRowOf = ({ inboxId: id, arrival: { message } }: Piece): InboxRow => {
  const attempts = attemptsOf(message);
  return attempts === 0 ? { id } : { id, attempts, failures: failuresOf(message) };
};

/** What the log lines of an event name. */
function fieldsOf(event: CloudEvent): object {
  const { id: eventId, type: eventType } = event;
  const traceId = traceIdOf(event.traceparent);
  return {
    eventId,
    eventType,
    correlationId: event.correlationid ?? eventId,
    ...(traceId !== undefined && { traceId }),
  };
}

function originOf(event: CloudEvent, log: Logger): Origin {
  const bound = childOf(log, () => fieldsOf(event));
  return {
    correlationId: event.correlationid ?? event.id,
    causationId: event.id,
    ...(event.traceparent !== undefined && { traceparent: event.traceparent }),
    get log() {
      return bound();
    },
  };
}

/** The database has become unavailable meanwhile. */
class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

const isTimeout = (error: unknown): boolean => error instanceof Error && error.name === 'TimeoutError';

const OUTCOMES = ['handled', 'duplicate', 'retried', 'dead'] as const;

type QueueMetrics = ReturnType<typeof metricsOf>;

/** Of one queue; looked up by their labels once, not for each event. Counters start at 0, or rate() misses the first increment. */
function metricsOf(metrics: Metrics, labels: { queue: string; type: string }) {
  const counters = OUTCOMES.map((outcome) => {
    const counter = metrics.eventsConsumed.labels({ ...labels, outcome });
    counter.inc(0);
    return [outcome, counter] as const;
  });
  return {
    consumed: Object.fromEntries(counters) as Record<(typeof OUTCOMES)[number], Counter.Internal>,
    duration: metrics.eventHandlingDuration.labels(labels),
    lag: metrics.eventLag.labels(labels),
  };
}
