// Consumes one queue. The stages of a delivery, and what leads from one to the next:
//
//   ARRIVED       is judged at once (judge.ts)
//                   valid ──► WAITING; may have ended its consumer before ──► ALONE; else ──► DEAD-LETTERED
//   WAITING       for its batch, which has all that arrived while the last one ran
//                   ──► HANDLING
//   HANDLING      in one transaction with its batch (batch.ts)
//                   committed ──► ACKED
//                   rolled back ──► HANDLING, in smaller batches, until each event that fails is by itself
//                   fails by itself ──► RETRIED
//                   the database is unavailable ──► RETURNED
//   ALONE         HANDLING by itself, while this process holds no other delivery (intake.ts)
//   RETRIED       published to a delay queue, then acked; after the last delay ──► DEAD-LETTERED (failed-deliveries.ts)
//   DEAD-LETTERED published to the dead-letter queue, then acked
//   RETURNED      published back to its queue, then acked
//
// While its intake is closed, a queue returns the deliveries that it holds, but for one that is ALONE. A lost connection ends every
// stage: the broker redelivers, and the inbox knows what was committed. Handlers see nothing of all this.
import type { CloudEvent } from '@warren/events';
import { backoff } from '../backoff.ts';
import { inParts, runBatches } from '../batches.ts';
import { pause } from '../concurrency.ts';
import { BatchError, type Log, type UnitsOfWork } from '../context.ts';
import type { Availability } from '../database/availability.ts';
import { isDatabaseUnavailable } from '../database/outage.ts';
import { asError } from '../errors.ts';
import { inboxId } from '../inbox/inbox.ts';
import { SpanKind, withSpan } from '../telemetry/tracing.ts';
import { isLostRace } from '../units-of-work.ts';
import { type Arrival, BatchTransactions, Interrupted, type Piece } from './batch.ts';
import { type Delivery, lossOf, onDelivery, requeue } from './deliveries.ts';
import { FailedDeliveries } from './failed-deliveries.ts';
import { deliveriesOf, type FailedMessagePublisher, type Failure } from './failed-message-publisher.ts';
import type { BoundHandler } from './handlers.ts';
import type { Intake, Taker } from './intake.ts';
import { type JudgeOptions, judge } from './judge.ts';
import { Acks } from './rascal/acks.ts';
import type { AckOrNack, RascalSession } from './rascal/rascal.ts';
import { fieldsOf, originOf, type QueueReport } from './reports.ts';
import type { RetryDelay } from './retry-delays.ts';

export interface ConsumerOptions extends JudgeOptions {
  units: Pick<UnitsOfWork, 'batch'>;
  availability: Pick<Availability, 'check'>;
  intake: Pick<Intake, 'add' | 'claim' | 'isClosed'>;
  failedMessages: FailedMessagePublisher;
  retryDelays: readonly RetryDelay[];
  /** Concurrent transactions, when the first ones are slow. */
  concurrency: number;
  /** ms a handler may take. */
  timeout: number;
  log: Log;
  report: QueueReport;
}

/** Retries in place of an event that alone finds the database unavailable, or loses a race. */
const RETRIES_IN_PLACE = 3;
/** Earlier deliveries of a message that may have ended its consumers: from then on it is handled alone. */
const SUSPECT_DELIVERIES = 2;
/** Messages, and bytes of them, in one transaction: half of the prefetch, so that the other half arrives meanwhile. */
const BATCH_LIMIT = { messages: 100, bytes: 4 * 1024 * 1024 };
/** ms that a batch may take before it is redone in parts; a handler by itself has `timeout`. */
const BATCH_TIMEOUT_MS = 5_000;
/** ms after which a batch is slow, and the next one starts beside it. */
const SLOW_BATCH_MS = 250;

/** What becomes of an event whose handler failed by itself. */
type AfterFailure =
  | { kind: 'return' }
  /** After a delay, without leaving this process. */
  | { kind: 'retry-in-place' }
  | { kind: 'retry-later'; error: Error };

export class Consumer implements Taker {
  readonly #options: ConsumerOptions;
  readonly #failed: FailedDeliveries;
  readonly #transactions: BatchTransactions;
  readonly #stopping = new AbortController();
  /** Deliveries that are not settled, in the order of arrival. */
  readonly #held = new Set<Delivery>();
  /** Those of them that wait for their batch. */
  #arrived: Arrival[] = [];
  readonly #startBatches: () => void;
  /** Messages in the next batch, at most: fewer after one that took too long. */
  #batchSize = BATCH_LIMIT.messages;
  #emptying: Promise<void> = Promise.resolve();
  #isDraining = false;

  constructor(options: ConsumerOptions) {
    this.#options = options;
    const { queue, producers, report, intake, failedMessages, retryDelays, log } = options;
    this.#transactions = new BatchTransactions(queue, options.units);
    this.#failed = new FailedDeliveries({
      queue,
      failedMessages,
      retryDelays,
      log,
      count: (outcome) => report.consumed(outcome),
      forget: (delivery) => this.#held.delete(delivery),
    });
    this.#startBatches = runBatches({
      next: () => this.#nextBatch(),
      run: (batch) => this.#runBatch(batch),
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
    const lost = lossOf(session);
    const signal = AbortSignal.any([lost, releasing, this.#stopping.signal]);
    const acks = session.channel && new Acks(session, session.channel);
    onDelivery(session, (message, ackOrNack) => {
      acks?.add(message);
      const settle: AckOrNack = (...how) => {
        if (!this.#held.delete(delivery) || lost.aborted) return;
        acks?.remove(message);
        ackOrNack(...how);
      };
      const delivery: Delivery = { message, ackOrNack: settle, acks, signal, lost, stage: 'held' };
      this.#take(delivery).catch((error) => this.#reject(delivery, error, this.#options.log));
    });
  }

  /** Waits no longer for anything; what waits is requeued. */
  stop(): void {
    this.#stopping.abort();
  }

  /** As `stop`, and begins nothing more: deliveries whose handler has not begun are returned to their queue. */
  drain(): void {
    this.#isDraining = true;
    this.stop();
    for (const delivery of this.#arrived.splice(0)) {
      if (!this.#isWaiting(delivery)) continue;
      delivery.stage = 'leaving';
      void this.#failed.return(delivery);
    }
  }

  /** Resolves when no handler runs any more. */
  async finished(): Promise<void> {
    await Promise.allSettled([...this.#held].map(({ done }) => done));
  }

  interrupt(): void {
    this.#transactions.interrupt();
  }

  empty(): Promise<void> {
    this.#emptying = this.#emptying.then(() => this.#returnHeld());
    return this.#emptying;
  }

  // --- ARRIVED ---

  async #take(delivery: Delivery): Promise<void> {
    const { message } = delivery;
    this.#held.add(delivery);
    const verdict = judge(message, this.#options);
    if (verdict.kind === 'dead-letter') {
      delivery.stage = 'leaving';
      return this.#failed.deadLetter(delivery, verdict.failure, this.#options.log);
    }
    const arrival = this.#arrivalOf(delivery, verdict.event);
    if (arrival === undefined) return;
    if (deliveriesOf(message) >= SUSPECT_DELIVERIES) return this.#handleSuspect(arrival);
    this.#arrived.push(arrival);
    this.#startBatches();
  }

  /** @returns undefined when the service's `key` throws: the event is retried later, as if its handler had failed */
  #arrivalOf(delivery: Delivery, event: CloudEvent): Arrival | undefined {
    try {
      return Object.assign(delivery, { piece: this.#pieceOf(delivery, event) }) as Arrival;
    } catch (error) {
      this.#retryLater(delivery, asError(error), this.#options.log);
      return undefined;
    }
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

  // --- HANDLING, in batches ---

  /** Takes what has arrived, up to a number and a size. */
  #nextBatch(): Arrival[] {
    const batch: Arrival[] = [];
    const { intake, queue } = this.#options;
    if (this.#isDraining || intake.isClosed(queue)) {
      // These were in flight when the consumer was cancelled.
      if (this.#arrived.splice(0).length > 0) void this.empty();
      return batch;
    }
    let bytes = 0;
    let taken = 0;
    for (const arrival of this.#arrived) {
      if (batch.length === this.#batchSize || bytes >= BATCH_LIMIT.bytes) break;
      taken += 1;
      if (!this.#isWaiting(arrival)) continue;
      batch.push(arrival);
      bytes += arrival.message.content.length;
    }
    this.#arrived.splice(0, taken);
    return batch;
  }

  /** Neither returned nor lost since it arrived. */
  #isWaiting(delivery: Delivery): boolean {
    return this.#held.has(delivery) && delivery.stage !== 'leaving' && !delivery.lost.aborted;
  }

  /** Returns those that are neither done nor failed once the batch has ended. */
  async #runBatch(batch: readonly Arrival[]): Promise<void> {
    const { queue, log } = this.#options;
    const done = this.#handleInParts(batch).catch((error) =>
      log.error({ err: error, queue }, 'consumer error; batch returned to its queue'),
    );
    for (const arrival of batch) arrival.done = done;
    await done;
    for (const delivery of batch) if (delivery.lost.aborted) this.#held.delete(delivery);
    if (batch.some((delivery) => this.#held.has(delivery) && delivery.stage !== 'leaving')) void this.empty();
  }

  #handleInParts(arrivals: readonly Arrival[]): Promise<void> {
    const { availability, concurrency } = this.#options;
    return inParts(
      arrivals.map(({ piece }) => piece),
      {
        together: (pieces) => this.#handleTogether(pieces),
        alone: (piece) => this.#handleByItself(piece),
        concurrency,
        isLeft: ({ arrival }) => !this.#isClosedTo(arrival),
        goesOn: async (cause) => {
          if (cause instanceof Interrupted) return false;
          if (isTimeout(cause)) this.#batchSize = Math.max(1, Math.floor(this.#batchSize / 2));
          return (!isDatabaseUnavailable(cause) && !isTimeout(cause)) || availability.check(cause);
        },
      },
    );
  }

  /** It is settled or lost; or nothing may be begun any more; or nothing of this queue may be handled now, unless alone. */
  #isClosedTo(arrival: Arrival): boolean {
    if (!this.#held.has(arrival) || arrival.lost.aborted || this.#isDraining) return true;
    const { intake, queue } = this.#options;
    return arrival.stage !== 'alone' && intake.isClosed(queue);
  }

  async #handleTogether(pieces: readonly Piece[]): Promise<void> {
    const started = performance.now();
    const handled = await this.#transactions.run(pieces, BATCH_TIMEOUT_MS);
    const ms = performance.now() - started;
    this.#batchSize = Math.min(BATCH_LIMIT.messages, this.#batchSize * 2);
    this.#acknowledge(pieces.map(({ arrival }) => arrival));
    for (const piece of pieces) this.#report(piece, handled.has(piece) ? 'handled' : 'duplicate', ms);
  }

  #acknowledge(arrivals: readonly Arrival[]): void {
    const ranged = Map.groupBy(arrivals, ({ acks }) => acks);
    for (const [acks, deliveries] of ranged) {
      if (acks === undefined) for (const { ackOrNack } of deliveries) ackOrNack();
      // Each once, and none that is lost.
      else
        acks.ack(
          deliveries
            .filter((each) => this.#held.delete(each) && !each.lost.aborted)
            .map((each) => each.message),
        );
    }
  }

  #report({ event }: Piece, outcome: 'handled' | 'duplicate', ms: number): void {
    const { queue, log, now, report } = this.#options;
    const lag = outcome === 'handled' ? now().getTime() - Date.parse(event.time) : undefined;
    report.consumed(outcome, ms / 1_000, lag && Math.max(0, lag) / 1_000);
    log.info({ ...fieldsOf(event), queue, outcome, ms: Math.round(ms * 1e3) / 1e3 }, 'event');
  }

  // --- HANDLING by itself, and ALONE ---

  /** A message that may have ended its process is handled while this process holds no other. */
  async #handleSuspect(arrival: Arrival): Promise<void> {
    const { intake, log, queue } = this.#options;
    arrival.stage = 'alone';
    const release = await intake.claim(queue);
    if (release !== undefined) {
      const { piece, message } = arrival;
      const deliveries = deliveriesOf(message);
      log.warn({ queue, eventId: piece.event.id, deliveries }, 'handling a redelivered event alone');
      if (!this.#isClosedTo(arrival)) arrival.done = this.#handleByItself(piece);
      await arrival.done;
    }
    if (arrival.stage === 'alone') arrival.stage = 'held';
    release?.();
    if (this.#held.has(arrival) && arrival.stage === 'held') await this.empty();
  }

  /** Until it is acked, leaves for a retry or the dead-letter queue, or is to be returned. */
  async #handleByItself(piece: Piece): Promise<void> {
    const { arrival } = piece;
    const delays = backoff({ min: 100, max: 5_000 });
    const started = performance.now();
    for (let retries = 0; ; retries += 1) {
      const failure = await this.#attempt(piece, started, retries);
      if (failure === undefined || failure.kind === 'return') return;
      if (failure.kind === 'retry-later') return this.#retryLater(arrival, failure.error, piece.origin.log);
      await pause(delays.next(), arrival.signal);
      if (arrival.signal.aborted) requeue(arrival);
      if (arrival.signal.aborted || this.#isClosedTo(arrival)) return;
    }
  }

  /** @returns undefined when it is acked */
  async #attempt(piece: Piece, started: number, retries: number): Promise<AfterFailure | undefined> {
    try {
      const handled = await this.#transactions.run([piece], this.#options.timeout);
      this.#acknowledge([piece.arrival]);
      this.#report(piece, handled.has(piece) ? 'handled' : 'duplicate', performance.now() - started);
      return undefined;
    } catch (error) {
      return this.#afterFailure(error, retries);
    }
  }

  /** The database is checked first: a database that does not respond looks like a handler that takes too long. */
  async #afterFailure(thrown: unknown, retries: number): Promise<AfterFailure> {
    if (thrown instanceof Interrupted) return { kind: 'return' };
    const error = thrown instanceof BatchError ? thrown.cause : thrown;
    const isOutage = isDatabaseUnavailable(error);
    // Without its database nothing can be handled, so the event does not climb the ladder for it.
    if ((isOutage || isTimeout(error)) && !(await this.#options.availability.check(error)))
      return { kind: 'return' };
    // The database is available; an outage that this event alone meets, again and again, is the fault of its handler.
    if ((isOutage || isLostRace(error)) && retries < RETRIES_IN_PLACE) return { kind: 'retry-in-place' };
    return { kind: 'retry-later', error: asError(error) };
  }

  // --- RETRIED, RETURNED ---

  /** Does not wait until it has left: nothing depends on it. */
  #retryLater(delivery: Delivery, error: Error, log: Log): void {
    delivery.stage = 'leaving';
    const failure: Failure = { reason: 'handler_failed', error, at: this.#options.now() };
    this.#failed.fail(delivery, failure, log).catch((unexpected) => this.#reject(delivery, unexpected, log));
  }

  /** A bug in this consumer: the broker moves the message to the dead-letter queue. */
  #reject({ ackOrNack }: Delivery, error: unknown, log: Log): void {
    const { queue } = this.#options;
    log.error({ err: error, queue }, 'consumer error; message rejected to its dead-letter queue');
    ackOrNack(asError(error), [{ strategy: 'nack' }]);
  }

  /** In the order of arrival, once none of them is being handled any more. */
  async #returnHeld(): Promise<void> {
    const { queue, log } = this.#options;
    const toReturn = () => [...this.#held].filter(({ stage }) => stage === 'held');
    await Promise.allSettled(toReturn().map(({ done }) => done));
    const left = toReturn();
    for (const delivery of left) delivery.stage = 'leaving';
    const returned = await Promise.all(left.map((delivery) => this.#failed.return(delivery)));
    const count = returned.filter(Boolean).length;
    if (count > 0) log.info({ queue, returned: count }, 'deliveries returned to their queue');
  }
}

const isTimeout = (error: unknown): boolean => error instanceof Error && error.name === 'TimeoutError';
