// A number of places, and a queue for them, bounded in length and time. No client and no kind of request can fill either.
import { createShares } from './shares.ts';

/** `read`: GET and HEAD. `write`: the body has arrived. `upload`: the body still streams, at the client's pace. */
export type Kind = 'read' | 'write' | 'upload';

/** However slow the requests of one kind are, places are left for the others. */
const limitsOf = (size: number): Record<Kind, number> => ({
  read: size - Math.floor(size / 3),
  write: size - Math.floor(size / 3),
  upload: Math.ceil(size / 5),
});

export interface Slots {
  /**
   * Waits for a place, first come, first served, except for clients that hold their share already.
   * @returns releases the place; a second call does nothing
   * @param kind without it only the client's share counts
   * @throws if no place became free in time, the queue is full, or the signal is aborted
   */
  take(client: string, signal: AbortSignal, kind?: Kind): Promise<() => void>;
}

/** @param options.wait ms */
export function createSlots(options: { size: number; wait: number; waiting: number }): Slots {
  const { size, wait, waiting } = options;
  const places = createShares(size, limitsOf(size));
  const seats = createShares(waiting, limitsOf(waiting));
  /** Each takes a place if its client may, and returns whether it did. */
  const queue = new Set<() => boolean>();

  function enter(client: string, kind?: Kind): (() => void) | undefined {
    const leave = places.take(client, 1, kind);
    if (leave === undefined) return undefined;
    let left = false;
    return () => {
      if (left) return;
      left = true;
      leave();
      for (const next of queue) if (next()) return;
    };
  }

  return {
    async take(client, signal, kind) {
      signal.throwIfAborted();
      const place = enter(client, kind);
      if (place !== undefined) return place;
      const stand = seats.take(client, 1, kind);
      if (stand === undefined) throw new Error('the queue is full');
      const { promise, resolve, reject } = Promise.withResolvers<() => void>();
      const leave = (then: () => void) => {
        queue.delete(tryAgain);
        stand();
        clearTimeout(clock);
        signal.removeEventListener('abort', giveUp);
        then();
      };
      const tryAgain = () => {
        const freed = enter(client, kind);
        if (freed !== undefined) leave(() => resolve(freed));
        return freed !== undefined;
      };
      const giveUp = () => leave(() => reject(new Error('no place became free')));
      const clock = setTimeout(giveUp, wait);
      signal.addEventListener('abort', giveUp);
      queue.add(tryAgain);
      return promise;
    },
  };
}
