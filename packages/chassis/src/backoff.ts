/**
 * Delays that grow from `min` to `max` (ms), doubling, each drawn from the upper half of its step: many clients of one
 * broker that has come back must not all come at once.
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

/** The longest a timer takes; a longer one would be over at once. */
const LONGEST = 2 ** 31 - 1;

/** A signal that aborts after `ms` as `AbortSignal.timeout` does, unless it is cleared: no timer and no error is left behind. */
export function timeLimit(ms: number): { signal: AbortSignal; clear(): void } {
  const controller = new AbortController();
  const timer = setTimeout(
    () => controller.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError')),
    Math.min(ms, LONGEST),
  );
  timer.unref();
  return { signal: controller.signal, clear: () => clearTimeout(timer) };
}

/** What `work` resolves to; or undefined once `ms` have passed. No timer outlives it: one that does holds a process that has nothing left to do. */
export async function within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  const settled = new AbortController();
  try {
    return await Promise.race([work, pause(ms, settled.signal).then(() => undefined)]);
  } finally {
    settled.abort();
  }
}

/** Waits `ms` (24 days at most), or until the signal aborts; never rejects. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(ms, LONGEST));
    signal?.addEventListener('abort', done, { once: true });
  });
}
