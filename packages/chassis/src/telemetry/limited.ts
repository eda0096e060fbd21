// Log lines whose number others decide: at most one in ten seconds, and how many there would have been.
import type { Logger } from '../context.ts';

/** ms between two lines. */
const INTERVAL_MS = 10_000;

/** Logs a warning, unless there was one a moment ago; the field `unlogged` counts those left out since. */
export function limitedWarnings(log: Logger): (fields: object, message: string) => void {
  let loggedAt = Number.NEGATIVE_INFINITY;
  let unlogged = 0;
  return (fields, message) => {
    if (performance.now() - loggedAt < INTERVAL_MS) {
      unlogged += 1;
      return;
    }
    log.warn({ ...fields, unlogged }, message);
    loggedAt = performance.now();
    unlogged = 0;
  };
}
