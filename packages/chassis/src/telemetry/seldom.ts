// For log lines that clients can cause in any number: writes the first at once, then at most one every ten seconds.
import type { Log } from '../context.ts';

const INTERVAL_MS = 10_000;

/**
 * @param write gets the number of calls omitted since the last line
 * @param clock ms, monotonic
 */
export function seldom<Args extends unknown[]>(
  write: (omitted: number, ...args: Args) => void,
  clock: () => number = () => performance.now(),
): (...args: Args) => void {
  let next = Number.NEGATIVE_INFINITY;
  let omitted = 0;
  return (...args) => {
    if (clock() < next) {
      omitted += 1;
      return;
    }
    next = clock() + INTERVAL_MS;
    write(omitted, ...args);
    omitted = 0;
  };
}

/** Logs at most one warning every ten seconds; the field `unlogged` counts those omitted since the last. */
export const limitedWarnings = (log: Log): ((fields: object, message: string) => void) =>
  seldom((unlogged, fields, message) => log.warn({ ...fields, unlogged }, message));
