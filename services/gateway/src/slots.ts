// A number of places, and a queue for them that is short in people and in time.

export interface Slots {
  /**
   * Waits for a place, first come, first served. Call what it returns to give it back; again does nothing.
   * @throws when none became free in time, too many wait already, or the signal is aborted
   */
  take(signal: AbortSignal): Promise<() => void>;
}

/** @param options.wait ms */
export function createSlots(options: { size: number; wait: number; waiting: number }): Slots {
  const { size, wait, waiting } = options;
  let taken = 0;
  const queue = new Set<() => void>();

  function grant(): () => void {
    taken += 1;
    let given = true;
    return () => {
      if (!given) return;
      given = false;
      taken -= 1;
      const [next] = queue;
      next?.();
    };
  }

  return {
    async take(signal) {
      signal.throwIfAborted();
      if (taken < size) return grant();
      if (queue.size >= waiting) throw new Error('too many wait');
      const { promise, resolve, reject } = Promise.withResolvers<() => void>();
      const leave = (then: () => void) => {
        queue.delete(enter);
        clearTimeout(clock);
        signal.removeEventListener('abort', giveUp);
        then();
      };
      const enter = () => leave(() => resolve(grant()));
      const giveUp = () => leave(() => reject(new Error('no place became free')));
      const clock = setTimeout(giveUp, wait);
      signal.addEventListener('abort', giveUp);
      queue.add(enter);
      return promise;
    },
  };
}
