import { WarrenError } from '../errors.ts';

/** The time a request may take: a signal for those who work on it, a promise for the one who answers. */
export interface Deadline {
  signal: AbortSignal;
  /** Resolves when the time is up; never rejects. */
  passed: Promise<typeof PASSED>;
  /** Stops the work for another reason than time. */
  abandon(reason: WarrenError): void;
  /** The answer is there: the clock stops. */
  clear(): void;
}

export const PASSED = Symbol('passed');
const LONGEST = 2 ** 31 - 1;

/** @param timeout ms */
export function startDeadline(timeout: number): Deadline {
  const controller = new AbortController();
  const { promise: passed, resolve } = Promise.withResolvers<typeof PASSED>();
  const timer = setTimeout(
    () => {
      // The answer first: whoever listens to the signal may take long to stop.
      resolve(PASSED);
      controller.abort(
        new WarrenError('deadline_exceeded', `The request did not complete within ${timeout} ms.`),
      );
    },
    Math.min(timeout, LONGEST),
  );
  return {
    signal: controller.signal,
    passed,
    abandon: (reason) => controller.abort(reason),
    clear: () => clearTimeout(timer),
  };
}
