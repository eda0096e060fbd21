import { WarrenError } from '../errors.ts';

/** The deadline of a request: a signal for its handler, a promise for the code that sends the response. */
export interface Deadline {
  signal: AbortSignal;
  /** Resolves at the deadline; never rejects. */
  passed: Promise<undefined>;
  /** Stops the work for another reason than time. */
  abandon(reason: WarrenError): void;
  /** Stops the timer, because the response is ready. */
  clear(): void;
}

const MAX_TIMER_MS = 2 ** 31 - 1;

/** @param timeout ms */
export function startDeadline(timeout: number): Deadline {
  const controller = new AbortController();
  const { promise: passed, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(
    () => {
      // The response first: a handler may take long to stop after the signal.
      resolve(undefined);
      controller.abort(
        new WarrenError('deadline_exceeded', `The request did not complete within ${timeout} ms.`),
      );
    },
    Math.min(timeout, MAX_TIMER_MS),
  );
  return {
    signal: controller.signal,
    passed,
    abandon: (reason) => controller.abort(reason),
    clear: () => clearTimeout(timer),
  };
}
