// PUBLISHING, a state of the relay: reads, publishes and deletes on one channel, with reads and confirms overlapping. A pass of its
// loop deletes what is confirmed, reads what comes next in the same statement, and publishes it. An event that a queue rejects (a
// nack) holds back its routing key (see holds.ts), and nothing else.
import type { Waker } from '../concurrency.ts';
import type { PublishError, Publisher } from '../messaging/publisher.ts';
import type { Holds } from './holds.ts';
import { BYTES_LIMIT, IN_FLIGHT_LIMIT, type PublishRow, READ_LIMIT } from './publish.ts';
import type { OutboxReader, Row } from './reader.ts';

export interface PublishingOptions {
  reader: OutboxReader;
  publisher: Publisher;
  holds: Holds;
  publish: PublishRow;
  waker: Waker;
  /** Aborts when this process is to publish what is there, and end. */
  draining: AbortSignal;
  /** Aborts when the time for that is over. */
  stopping: AbortSignal;
  /** Called when confirmed events were deleted. */
  onConfirmed: () => void;
}

/** ms between polls of an outbox that other processes write to: while events flow, and when nothing happens. */
const BUSY_POLL_MS = 50;
const IDLE_POLL_MS = 800;
/** ms after the last event for which the outbox counts as busy. */
const BUSY_FOR_MS = 2_000;
/** ms for the confirms of what is in flight, so that the channel can be renewed. */
const RENEWAL_MS = 2_000;

interface Pass {
  /** Rows that it could read, at most, and that it read. */
  limit: number;
  read: number;
  deleted: number;
  /** There may be more to read. */
  more: boolean;
}

export class Publishing {
  readonly #options: PublishingOptions;
  readonly #inFlight = new Map<string, Row>();
  /** Of the bodies in flight. */
  #bytes = 0;
  /** Ids of events that are confirmed, and not deleted yet. */
  #confirmed: string[] = [];
  /** Events that a queue rejected, and that are not marked as held yet. */
  #nacked: Row[] = [];
  /**
   * The channel has got a nack. A full quorum queue reports that to each channel, but not always that it has room again (RabbitMQ
   * 3.10, when a policy goes): before held events are tried again, the channel is renewed, once nothing is in flight on it.
   */
  #isStale = false;
  /** Since when it waits for confirms, to be renewed. */
  #renewingSince: number | undefined;
  #failure: PublishError | undefined;
  #busyUntil = 0;
  #pollMs = IDLE_POLL_MS;

  constructor(options: PublishingOptions) {
    this.#options = options;
  }

  /**
   * @returns `drained` when the outbox is empty (but for what is held) and this process is ending; `interrupted` when it is stopping,
   *   or the channel has to be renewed
   * @throws {PublishError} when the broker is lost, or refused one of the events in flight
   */
  async run(): Promise<'drained' | 'interrupted'> {
    const { reader, publisher, waker, stopping, onConfirmed } = this.#options;
    await reader.refresh();
    for (;;) {
      if (reader.lost) throw reader.reason;
      if (this.#failure !== undefined || stopping.aborted) break;
      this.#failure = publisher.closed;
      if (this.#isToRenew()) break;
      await this.#holdNacked();
      const pass = await this.#readAndSend();
      await this.#probeHeld();
      await publisher.room(stopping);
      await reader.refresh();
      if (pass.deleted > 0) onConfirmed();
      const next = this.#nextStep(pass);
      if (next === 'drained') return 'drained';
      if (next === 'sleep')
        await waker.sleep(this.#canProbe() ? Math.min(this.#pollMs, this.#holds.wait) : this.#pollMs);
    }
    await this.#holdNacked();
    if (this.#confirmed.length > 0) await reader.delete(this.#confirmed);
    if (this.#failure !== undefined) throw this.#failure;
    return 'interrupted';
  }

  get #holds(): Holds {
    return this.#options.holds;
  }

  #isHalfFree(): boolean {
    return this.#inFlight.size <= IN_FLIGHT_LIMIT / 2 && this.#bytes <= BYTES_LIMIT / 2;
  }

  #maySendHeld(): boolean {
    return this.#failure === undefined && !this.#options.draining.aborted && this.#isHalfFree();
  }

  #canProbe(): boolean {
    return this.#renewingSince === undefined && this.#maySendHeld();
  }

  /** Starts a renewal when held events are due on a stale channel. @returns whether the channel can be closed now */
  #isToRenew(): boolean {
    const now = performance.now();
    if (this.#isStale && this.#maySendHeld() && this.#holds.wait === 0) this.#renewingSince ??= now;
    if (this.#renewingSince === undefined) return false;
    if (this.#inFlight.size === 0 && this.#nacked.length === 0) return true;
    if (now - this.#renewingSince > RENEWAL_MS) {
      for (const { key } of this.#holds.due()) this.#holds.postpone(key);
      this.#renewingSince = undefined;
    }
    return false;
  }

  async #holdNacked(): Promise<void> {
    const nacked = this.#nacked;
    if (nacked.length === 0) return;
    this.#nacked = [];
    await this.#options.reader.hold(nacked.map(({ id }) => id));
  }

  async #readAndSend(): Promise<Pass> {
    const { reader, waker } = this.#options;
    const mayRead =
      this.#failure === undefined && this.#renewingSince === undefined && this.#bytes < BYTES_LIMIT;
    const limit = mayRead ? Math.min(READ_LIMIT, IN_FLIGHT_LIMIT - this.#inFlight.size) : 0;
    waker.reset();
    const confirmed = this.#confirmed;
    this.#confirmed = [];
    const taken = [...this.#inFlight.keys(), ...this.#nacked.map(({ id }) => id)];
    const { rows, more } = await reader.deleteAndRead(confirmed, taken, limit, BYTES_LIMIT - this.#bytes);
    if (reader.lost) throw reader.reason;
    await this.#sendOrHold(rows);
    return { limit, read: rows.length, deleted: confirmed.length, more };
  }

  async #sendOrHold(rows: readonly Row[]): Promise<void> {
    // Those that were nacked during the read are not marked as held yet.
    const waiting = new Set(this.#nacked.map(({ aggregate }) => aggregate));
    const held: string[] = [];
    for (const row of rows) {
      if (this.#holds.has(row.routing_key)) {
        held.push(row.id);
        waiting.add(row.aggregate);
      } else if (!waiting.has(row.aggregate)) this.#send(row);
    }
    if (held.length > 0) await this.#options.reader.hold(held);
  }

  #send(row: Row): void {
    const { publish, publisher } = this.#options;
    this.#inFlight.set(row.id, row);
    this.#bytes += row.bytes;
    publish(publisher, row, (error) => this.#settle(row, error));
  }

  #settle(row: Row, error: PublishError | undefined): void {
    const wasFull = !this.#isHalfFree();
    this.#inFlight.delete(row.id);
    this.#bytes -= row.bytes;
    if (error === undefined) this.#confirmed.push(row.id);
    else if (error.reason === 'nacked') {
      this.#nacked.push({ ...row, body: '' });
      this.#isStale = true;
      this.#holds.begin(row.routing_key, error);
    } else this.#failure ??= error;
    const burstEnded = this.#holds.settled(row, error === undefined);
    // A full window is filled again when half of it is free; otherwise the loop goes on when all is confirmed, or at a commit.
    const hasRoom = this.#inFlight.size === 0 || (wasFull && this.#isHalfFree());
    if (error !== undefined || burstEnded || hasRoom) this.#options.waker.nudge();
  }

  /** Sends the next events of held keys whose delay is over. */
  async #probeHeld(): Promise<void> {
    const { reader } = this.#options;
    const due = this.#maySendHeld() && !this.#isStale ? this.#holds.due() : [];
    if (due.length === 0) return;
    const confirmed = this.#confirmed;
    this.#confirmed = [];
    if (confirmed.length > 0) await reader.delete(confirmed); // or they would be read again
    reader.rewind();
    for (const { key, size } of due) {
      if (!this.#maySendHeld()) return;
      const rows = await reader.readHeld(key, Math.min(size, READ_LIMIT), BYTES_LIMIT - this.#bytes);
      for (const row of rows) {
        this.#holds.sent(row);
        this.#send(row);
      }
      if (rows.length === 0) await this.#releaseOrPostpone(key, size);
    }
  }

  /** No event of this key can be published: all are, or the others wait behind events of their aggregates that wait, too. */
  async #releaseOrPostpone(key: string, size: number): Promise<void> {
    const { reader } = this.#options;
    if (size > 1 || !(await reader.heldKeys()).includes(key)) {
      await reader.release(key);
      this.#holds.end(key);
    } else this.#holds.postpone(key);
  }

  /** The order matters: work that is there comes before the end, and the end before sleep. */
  #nextStep(pass: Pass): 'again' | 'drained' | 'sleep' {
    this.#planPoll(pass);
    const isEmpty = this.#inFlight.size === 0;
    const isRenewing = this.#renewingSince !== undefined;
    if (this.#failure !== undefined || this.#nacked.length > 0) return 'again';
    if (!isRenewing && (this.#options.waker.isWoken || (pass.more && this.#isHalfFree()))) return 'again';
    if (isEmpty && (this.#confirmed.length > 0 || isRenewing)) return 'again';
    if (this.#canProbe() && this.#holds.wait === 0) return 'again';
    if (this.#options.draining.aborted && isEmpty && pass.limit > 0 && pass.read === 0) return 'drained';
    return 'sleep';
  }

  #planPoll({ read, deleted }: Pass): void {
    const now = performance.now();
    if (read > 0 || deleted > 0) {
      this.#busyUntil = now + BUSY_FOR_MS;
      this.#pollMs = BUSY_POLL_MS;
    } else if (now > this.#busyUntil) this.#pollMs = Math.min(IDLE_POLL_MS, this.#pollMs * 2);
  }
}
