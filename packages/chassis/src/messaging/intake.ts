// How much the consumers of one process take from the broker. The modes, and what leads from one to the next:
//
//   OPEN       the prefetch of broker.ts
//                a message that may have ended its process ──► ALONE
//   SUSPENDED  nothing, and deliveries are returned: RabbitMQ's consumer_timeout would end a channel that keeps them, which counts
//              against each message
//                the database is available ──► OPEN
//   ALONE      that message is handled while the process holds no other, of any queue: if the process dies again, it is the cause
//                handled ──► CAREFUL
//   CAREFUL    one message at a time of that queue, and none of the others
//                no such message for `QUIET_MS` ──► OPEN
//
// From every mode, a database that becomes unavailable leads to SUSPENDED.

/** A consumer, as `Intake` sees it. */
export interface Taker {
  queue: string;
  /** Returns the deliveries that it holds, but for one that it handles alone; resolves when they are settled. */
  empty(): Promise<void>;
  /** Rolls back the transactions that are running. */
  interrupt(): void;
}

export interface IntakeOptions {
  /** See `Messaging`. */
  limit: (queue: string, prefetch?: number) => void;
  settled: () => Promise<void>;
}

/** ms of CAREFUL without a suspect message. */
const QUIET_MS = 1_000;

export class Intake {
  readonly #options: IntakeOptions;
  readonly #takers: Taker[] = [];
  /** The prefetch in force; absent: that of broker.ts. */
  readonly #limits = new Map<string, number>();
  #suspended = false;
  /** The queue of the message that is handled alone. */
  #alone: string | undefined;
  #careful: string | undefined;
  #quiet: NodeJS.Timeout | undefined;

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  add(taker: Taker): void {
    this.#takers.push(taker);
  }

  /** Nothing of this queue may be handled now, unless alone. */
  isClosed(queue: string): boolean {
    return this.#limitOf(queue) === 0;
  }

  /** The database is unavailable. */
  suspend(): void {
    this.#suspended = true;
    this.#leaveCareful();
    this.#apply();
    for (const taker of this.#takers) taker.interrupt();
  }

  resume(): void {
    this.#suspended = false;
    this.#apply();
  }

  /**
   * Enters ALONE: resolves when this process holds no other message than the caller's.
   * @returns a function that ends ALONE; or undefined when the message has to be returned, as another one is handled alone
   */
  async claim(queue: string): Promise<(() => void) | undefined> {
    if (this.#suspended || this.#alone !== undefined) return undefined;
    if (this.#careful !== undefined && this.#careful !== queue) return undefined;
    const isCareful = this.#careful === queue;
    clearTimeout(this.#quiet);
    this.#alone = queue;
    if (!isCareful) {
      this.#apply();
      await this.#emptyAll();
      // Deliveries that were in flight when the consumers were cancelled.
      await this.#options.settled();
      await this.#emptyAll();
    }
    return () => {
      this.#alone = undefined;
      if (!this.#suspended) {
        this.#careful = queue;
        this.#quiet = setTimeout(() => this.#leaveCareful(), QUIET_MS);
        this.#quiet.unref();
      }
      this.#apply();
    };
  }

  /** Clears the timer. */
  stop(): void {
    clearTimeout(this.#quiet);
  }

  #leaveCareful(): void {
    clearTimeout(this.#quiet);
    this.#careful = undefined;
    this.#apply();
  }

  #limitOf(queue: string): number | undefined {
    if (this.#suspended) return 0;
    // With a prefetch of 1, every message is alone.
    if (this.#careful !== undefined) return this.#careful === queue ? 1 : 0;
    return this.#alone === undefined ? undefined : 0;
  }

  #apply(): void {
    for (const taker of this.#takers) {
      const { queue } = taker;
      const wanted = this.#limitOf(queue);
      if (wanted === this.#limits.get(queue)) continue;
      if (wanted === undefined) this.#limits.delete(queue);
      else this.#limits.set(queue, wanted);
      this.#options.limit(queue, wanted);
      if (wanted === 0) void taker.empty();
    }
  }

  async #emptyAll(): Promise<void> {
    await Promise.all(this.#takers.map((taker) => taker.empty()));
  }
}
