// Functions that wait for a time, a signal or a wake-up. None of them leaves a timer or a listener behind.

/** The longest that a timer can take (24 days); with more, it fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Resolves after `ms`, or when the signal aborts; never rejects. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(ms, MAX_TIMER_MS));
    signal?.addEventListener('abort', done, { once: true });
  });
}

/** Resolves to the result of `work`, or to undefined after `ms`. */
export async function within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(resolve, Math.min(ms, MAX_TIMER_MS), undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A signal that aborts after `ms`, as `AbortSignal.timeout` does, but whose timer can be cleared. */
export function timeLimit(ms: number): { signal: AbortSignal; clear(): void } {
  const controller = new AbortController();
  const timer = setTimeout(
    () => controller.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError')),
    Math.min(ms, MAX_TIMER_MS),
  );
  timer.unref();
  return { signal: controller.signal, clear: () => clearTimeout(timer) };
}

/** Settles as `promise` does, or rejects with the signal's reason when it aborts first. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** Resolves when the signal aborts. */
export function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Lets one loop sleep until there is something to do. */
export class Waker {
  #endSleep: () => void = () => {};
  #isWoken = false;

  /** Whether `wake` was called after the last `reset`. */
  get isWoken(): boolean {
    return this.#isWoken;
  }

  /** Call it before a check: a `wake` during the check then keeps the loop from sleeping. */
  reset(): void {
    this.#isWoken = false;
  }

  /** There is new work: ends the sleep, and every further one until `reset`. */
  wake(): void {
    this.#isWoken = true;
    this.#endSleep();
  }

  /** Something has changed: ends the sleep that runs, if one does. */
  nudge(): void {
    this.#endSleep();
  }

  /** Resolves after `ms`, at `wake` or at `nudge`; at once when it is woken. */
  async sleep(ms: number): Promise<void> {
    if (this.#isWoken) return;
    // Without an AbortSignal: `abort` creates an error with its stack, which cost 2 % of a busy service.
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, Math.min(ms, MAX_TIMER_MS));
    this.#endSleep = resolve;
    await promise;
    clearTimeout(timer);
  }

  /** Sleeps until `condition`, which is checked at every nudge, or until it is woken, or for `ms`. */
  async sleepUntil(condition: () => boolean, ms: number): Promise<void> {
    const end = performance.now() + ms;
    while (!this.#isWoken && !condition()) {
      const left = end - performance.now();
      if (left <= 0) return;
      await this.sleep(left);
    }
  }
}
