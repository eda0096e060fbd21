// Routing keys that are held back: a queue bound to them rejects what is published (it is full, and its overflow is
// `reject-publish`), and the broker nacks the publish although all other queues have taken it. Each further publish is a
// duplicate for those, so a key is tried again after a growing delay, with one event, then with one more each time:
//
//   open ── nack ──► held ── delay is over ──► burst ── all confirmed ──► a larger burst, at once
//                     ▲                          │  └── nothing is left ──► open
//                     └───────── nack ───────────┘
//
// The rows themselves are marked in the outbox (`held_at`), so a held key does not fill the window, and the next process
// knows of it.
import { backoff } from '../backoff.ts';

/** ms between bursts while they fail: from the first to the longest delay. */
const MIN_DELAY_MS = 1_000;
const MAX_DELAY_MS = 10_000;

interface Hold {
  since: number;
  delays: ReturnType<typeof backoff>;
  /** When the next burst may go. */
  dueAt: number;
  /** Events of the next burst. */
  size: number;
  /** Ids of the burst in flight. */
  burst: Set<string>;
  rejected: boolean;
}

type Event = { id: string; routing_key: string };

export class Holds {
  readonly #holds = new Map<string, Hold>();

  has(key: string): boolean {
    return this.#holds.has(key);
  }

  /** Holds a key, at first without delay if `due`. @returns whether it was open */
  begin(key: string, due = false): boolean {
    if (this.#holds.has(key)) return false;
    const now = performance.now();
    const delays = backoff({ min: MIN_DELAY_MS, max: MAX_DELAY_MS });
    const dueAt = due ? now : now + delays.next();
    this.#holds.set(key, { since: now, delays, dueAt, size: 1, burst: new Set(), rejected: false });
    return true;
  }

  /** @returns seconds for which it was held */
  end(key: string): number {
    const since = this.#holds.get(key)?.since ?? performance.now();
    this.#holds.delete(key);
    return Math.round((performance.now() - since) / 1_000);
  }

  /** Keys whose next burst may go now, with its size. */
  due(): { key: string; size: number }[] {
    const now = performance.now();
    return [...this.#holds]
      .filter(([, { burst, dueAt }]) => burst.size === 0 && dueAt <= now)
      .map(([key, { size }]) => ({ key, size }));
  }

  /** ms until a burst is due; infinite while none waits. */
  get wait(): number {
    const waiting = [...this.#holds.values()].filter(({ burst }) => burst.size === 0);
    return Math.max(0, Math.min(...waiting.map(({ dueAt }) => dueAt)) - performance.now());
  }

  sent({ id, routing_key }: Event): void {
    this.#holds.get(routing_key)?.burst.add(id);
  }

  /** What became of an event in flight. @returns whether a burst ended with it */
  settled({ id, routing_key }: Event, accepted: boolean): boolean {
    const hold = this.#holds.get(routing_key);
    if (!hold?.burst.delete(id)) return false;
    hold.rejected ||= !accepted;
    if (hold.burst.size > 0) return false;
    this.#plan(hold);
    return true;
  }

  /** Nothing of a held key can be published now. */
  postpone(key: string): void {
    const hold = this.#holds.get(key);
    if (hold !== undefined) hold.dueAt = performance.now() + hold.delays.next();
  }

  /** What was in flight is lost with its connection. */
  forget(): void {
    for (const hold of this.#holds.values()) {
      hold.burst.clear();
      hold.rejected = false;
    }
  }

  /** More of what is accepted costs at most one nack each: duplicates grow with the square root of what gets through. */
  #plan(hold: Hold): void {
    if (!hold.rejected) {
      hold.size += 1;
      hold.delays.reset();
    } else {
      hold.dueAt = performance.now() + hold.delays.next();
      hold.size = 1;
    }
    hold.rejected = false;
  }
}
