// Log lines whose number strangers decide: the first is written at once, then one every ten seconds at most.
import type { Logger } from '../context.ts';

/** ms between two lines about the same thing. */
const EVERY = 10_000;

/**
 * @param write gets how many were left out since the last one
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
    next = clock() + EVERY;
    write(omitted, ...args);
    omitted = 0;
  };
}

/** Logs a warning, unless there was one a moment ago; the field `unlogged` counts those left out since. */
export const limitedWarnings = (log: Logger): ((fields: object, message: string) => void) =>
  seldom((unlogged, fields, message) => log.warn({ ...fields, unlogged }, message));
