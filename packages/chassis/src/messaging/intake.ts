// How much the consumers of one process take from the broker. Four modes:
// - open: as much as broker.ts says;
// - suspended, while the database is unavailable: nothing, and what was taken is returned. Whoever waits with deliveries in hand
//   is cut off by RabbitMQ's consumer_timeout, and the delivery counts against the message;
// - alone: one message that may have ended its process is handled, and the process holds no other, in no queue: should it die again,
//   it dies of this one;
// - careful, after `alone`: one message at a time from that queue, and nothing from the others, until none has been suspect for
//   `QUIET_MS`.

/** A consumer, as far as its intake goes. */
export interface Taker {
  queue: string;
  /** Returns to the broker what it holds and does not handle alone; resolves when that is settled. */
  empty(): Promise<void>;
  /** Gives up what it is handling. */
  interrupt(): void;
}

export interface IntakeOptions {
  /** See `Messaging`. */
  limit: (queue: string, prefetch?: number) => void;
  settled: () => Promise<void>;
}

const QUIET_MS = 1_000;

export class Intake {
  readonly #options: IntakeOptions;
  readonly #takers: Taker[] = [];
  /** As the broker was told; absent: as much as broker.ts says. */
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

  /** Nothing of this queue may be handled now, but what is handled alone. */
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
   * Resolves when this process holds no other message than the one that calls for it.
   * @returns what ends this; or undefined when the message has to be returned, as another one is handled alone
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
      // Deliveries that were on their way when the consumers were cancelled.
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

  /** No timer changes anything any more. */
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
    // With a prefetch of one, a message is alone as it is.
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
