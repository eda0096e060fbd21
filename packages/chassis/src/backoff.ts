/**
 * Delays that grow from `min` to `max` (ms), doubling, each drawn from the upper half of its step: the clients of a broker that
 * has recovered must not all reconnect at once.
 */
export function backoff({ min, max }: { min: number; max: number }): { next(): number; reset(): void } {
  let step = min;
  return {
    next() {
      const delay = step * (0.5 + Math.random() / 2);
      step = Math.min(max, step * 2);
      return delay;
    },
    reset() {
      step = min;
    },
  };
}
