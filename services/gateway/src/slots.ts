// A number of places, and a queue for them that is short in people and in time. No client may fill either.
import { createShares } from './shares.ts';

export interface Slots {
  /**
   * Waits for a place: first come, first served, but for clients that hold their share already. Call what it returns to give it
   * back; again does nothing.
   * @throws when none became free in time, too many wait already, or the signal is aborted
   */
  take(client: string, signal: AbortSignal): Promise<() => void>;
}

/** @param options.wait ms */
export function createSlots(options: { size: number; wait: number; waiting: number }): Slots {
  const { size, wait, waiting } = options;
  const places = createShares(size);
  const seats = createShares(waiting);
  /** Each takes a place if its client may, and says whether it did. */
  const queue = new Set<() => boolean>();

  function enter(client: string): (() => void) | undefined {
    const leave = places.take(client);
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
    async take(client, signal) {
      signal.throwIfAborted();
      const place = enter(client);
      if (place !== undefined) return place;
      const stand = seats.take(client);
      if (stand === undefined) throw new Error('too many wait');
      const { promise, resolve, reject } = Promise.withResolvers<() => void>();
      const leave = (then: () => void) => {
        queue.delete(tryAgain);
        stand();
        clearTimeout(clock);
        signal.removeEventListener('abort', giveUp);
        then();
      };
      const tryAgain = () => {
        const freed = enter(client);
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
