import { backoff } from '../backoff.ts';
import { pause } from '../concurrency.ts';
import type { Logger } from '../context.ts';
import { isDatabaseUnavailable, reasonOf } from '../database/outage.ts';

/** Runs `task` until the database is available; logs once that it is not, and why. */
export async function whenAvailable(
  task: () => Promise<void>,
  {
    log,
    signal,
    onProblem = () => {},
  }: {
    log: Logger;
    /** Aborting it ends the wait: this rejects with its reason. */
    signal: AbortSignal | undefined;
    /** Called with the reason of each failure, and with undefined at the end. */
    onProblem?: (problem: string | undefined) => void;
  },
): Promise<void> {
  const delays = backoff({ min: 100, max: 5_000 });
  for (let logged = false; ; logged = true) {
    signal?.throwIfAborted();
    try {
      await task();
      return onProblem(undefined);
    } catch (error) {
      if (!isDatabaseUnavailable(error)) throw error;
      const problem = reasonOf(error);
      onProblem(problem);
      if (!logged) log.warn({ err: error }, `database unavailable: ${problem}; waiting for it`);
      await pause(delays.next(), signal);
    }
  }
}
