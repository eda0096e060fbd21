// Which request is handled next: callers take turns, with a limit for each, so that none waits behind all requests of another.

/** What one caller may have in one replica, running or waiting. */
export interface Share {
  requests: number;
  bytes: number;
}

interface Held extends Share {
  running: number;
  waiting: (() => void)[];
}

export class Turns {
  /** Handlers at once for one caller, and for all: one caller alone leaves some free for the others. */
  readonly #maxPerCaller: number;
  readonly #max: number;
  readonly #share: Share;
  /** By caller, in the order of their turns. */
  readonly #held = new Map<string, Held>();
  #running = 0;

  constructor(atOnce: number, share: Share) {
    this.#maxPerCaller = atOnce;
    this.#max = atOnce + Math.ceil(atOnce / 4);
    this.#share = share;
  }

  /** @returns false if this caller already has its share in this replica: the request must not be handled */
  admit(caller: string, bytes: number): boolean {
    const held = this.#held.get(caller) ?? { requests: 0, bytes: 0, running: 0, waiting: [] };
    if (held.requests >= this.#share.requests || held.bytes + bytes > this.#share.bytes) return false;
    held.requests += 1;
    held.bytes += bytes;
    this.#held.set(caller, held);
    return true;
  }

  /** Resolves when an admitted request may be handled; call `leave` afterwards. */
  enter(caller: string): Promise<void> {
    return new Promise((resolve) => {
      this.#held.get(caller)?.waiting.push(resolve);
      this.#fill();
    });
  }

  /** A request was handled. */
  leave(caller: string): void {
    const held = this.#held.get(caller);
    if (held === undefined) return;
    held.running -= 1;
    this.#running -= 1;
    this.#forget(caller, held);
    this.#fill();
  }

  /** An admitted request has its reply, or none. */
  release(caller: string, bytes: number): void {
    const held = this.#held.get(caller);
    if (held === undefined) return;
    held.requests -= 1;
    held.bytes -= bytes;
    this.#forget(caller, held);
  }

  #forget(caller: string, { requests, running }: Held): void {
    if (requests === 0 && running === 0) this.#held.delete(caller);
  }

  #fill(): void {
    while (this.#running < this.#max) {
      const next = [...this.#held].find(
        ([, { running, waiting }]) => waiting.length > 0 && running < this.#maxPerCaller,
      );
      if (next === undefined) return;
      const [caller, held] = next;
      // It moves to the end of the order.
      this.#held.delete(caller);
      this.#held.set(caller, held);
      held.running += 1;
      this.#running += 1;
      held.waiting.shift()?.();
    }
  }
}
