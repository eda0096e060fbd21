// Whose request is handled next: so many of one requester at once, the others in turns of those who wait, so that nobody waits
// behind all requests of another.

/** What one requester may have in one replica, handled or waiting. */
export interface Share {
  requests: number;
  bytes: number;
}

interface Held extends Share {
  running: number;
  waiting: (() => void)[];
}

export class Turns {
  /** Handled at once of one requester, and of all: one alone leaves some free for the others. */
  readonly #ofOne: number;
  readonly #ofAll: number;
  readonly #share: Share;
  /** By requester, in the order of their turns. */
  readonly #held = new Map<string, Held>();
  #running = 0;

  constructor(atOnce: number, share: Share) {
    this.#ofOne = atOnce;
    this.#ofAll = atOnce + Math.ceil(atOnce / 4);
    this.#share = share;
  }

  /** @returns false when this requester has its share in this replica already: the request is not to be handled */
  admit(requester: string, bytes: number): boolean {
    const held = this.#held.get(requester) ?? { requests: 0, bytes: 0, running: 0, waiting: [] };
    if (held.requests >= this.#share.requests || held.bytes + bytes > this.#share.bytes) return false;
    held.requests += 1;
    held.bytes += bytes;
    this.#held.set(requester, held);
    return true;
  }

  /** Resolves when an admitted request may be handled; `leave` follows. */
  enter(requester: string): Promise<void> {
    return new Promise((resolve) => {
      this.#held.get(requester)?.waiting.push(resolve);
      this.#fill();
    });
  }

  /** It was handled. */
  leave(requester: string): void {
    const held = this.#held.get(requester);
    if (held === undefined) return;
    held.running -= 1;
    this.#running -= 1;
    this.#forget(requester, held);
    this.#fill();
  }

  /** An admitted request was settled. */
  release(requester: string, bytes: number): void {
    const held = this.#held.get(requester);
    if (held === undefined) return;
    held.requests -= 1;
    held.bytes -= bytes;
    this.#forget(requester, held);
  }

  #forget(requester: string, { requests, running }: Held): void {
    if (requests === 0 && running === 0) this.#held.delete(requester);
  }

  #fill(): void {
    while (this.#running < this.#ofAll) {
      const next = [...this.#held].find(
        ([, { running, waiting }]) => waiting.length > 0 && running < this.#ofOne,
      );
      if (next === undefined) return;
      const [requester, held] = next;
      // Now it is the last in turn.
      this.#held.delete(requester);
      this.#held.set(requester, held);
      held.running += 1;
      this.#running += 1;
      held.waiting.shift()?.();
    }
  }
}
