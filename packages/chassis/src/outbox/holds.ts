// Routing keys that are held back: a queue bound to one rejects what is published (it is full, with overflow `reject-publish`), and the
// broker nacks the publish although all other queues have taken it. For those, each further publish is a duplicate; so a key is tried
// again after a growing delay, with a burst of one event, then with one more each time. The states of a key:
//
//   OPEN ── nack ──► HELD ── delay is over ──► BURST ── all confirmed ──► a larger BURST, at once
//                     ▲                          │  └── no event left ──► OPEN
//                     └───────── nack ───────────┘
//
// The rows are marked in the outbox (`held_at`), so that held events do not fill the window, and the next relay knows of them.
import { backoff } from '../backoff.ts';
import type { Log } from '../context.ts';
import type { PublishError } from '../messaging/publisher.ts';

/** ms between bursts while they fail: from the first to the longest delay. */
const MIN_DELAY_MS = 1_000;
const MAX_DELAY_MS = 10_000;

interface Hold {
  since: number;
  delays: ReturnType<typeof backoff>;
  /** When the next burst may be sent. */
  dueAt: number;
  /** Events in the next burst. */
  size: number;
  /** Ids of the burst in flight. */
  burst: Set<string>;
  rejected: boolean;
}

type Event = { id: string; routing_key: string };

export class Holds {
  readonly #log: Log;
  readonly #holds = new Map<string, Hold>();

  constructor(log: Log) {
    this.#log = log;
  }

  has(key: string): boolean {
    return this.#holds.has(key);
  }

  /** @param error the nack; undefined if an earlier relay held the key: then its first burst is due at once */
  begin(key: string, error: PublishError | undefined): void {
    if (this.#holds.has(key)) return;
    const now = performance.now();
    const delays = backoff({ min: MIN_DELAY_MS, max: MAX_DELAY_MS });
    const dueAt = error === undefined ? now : now + delays.next();
    this.#holds.set(key, { since: now, delays, dueAt, size: 1, burst: new Set(), rejected: false });
    this.#log.warn(
      { routingKey: key, ...(error !== undefined && { err: error }) },
      'a queue rejected events of this routing key (is one full?); holding them back and retrying',
    );
  }

  end(key: string): void {
    const since = this.#holds.get(key)?.since ?? performance.now();
    this.#holds.delete(key);
    const seconds = Math.round((performance.now() - since) / 1_000);
    this.#log.info({ routingKey: key, seconds }, 'events of this routing key are accepted again');
  }

  /** Keys whose next burst may be sent now, with its size. */
  due(): { key: string; size: number }[] {
    const now = performance.now();
    return [...this.#holds]
      .filter(([, { burst, dueAt }]) => burst.size === 0 && dueAt <= now)
      .map(([key, { size }]) => ({ key, size }));
  }

  /** ms until a burst is due; infinite if no key waits for one. */
  get wait(): number {
    const waiting = [...this.#holds.values()].filter(({ burst }) => burst.size === 0);
    return Math.max(0, Math.min(...waiting.map(({ dueAt }) => dueAt)) - performance.now());
  }

  sent({ id, routing_key }: Event): void {
    this.#holds.get(routing_key)?.burst.add(id);
  }

  /** An event in flight was accepted or rejected. @returns whether its burst has ended */
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

  /** The bursts in flight are lost with their connection. */
  forget(): void {
    for (const hold of this.#holds.values()) {
      hold.burst.clear();
      hold.rejected = false;
    }
  }

  /** Each larger burst costs at most one nack: duplicates grow with the square root of the events that are accepted. */
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
