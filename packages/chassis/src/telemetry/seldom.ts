/** ms between two lines about the same thing. */
const EVERY = 10_000;

/**
 * For a log line that strangers can cause: the first is written at once, then one every ten seconds at most.
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
