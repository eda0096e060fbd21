import { setTimeout as wait } from 'node:timers/promises';

export interface Patience {
  /** How long to go on trying, in ms. Default: that of the variable WARREN_EVENTUALLY_MS, else 30,000. */
  timeout?: number;
  /** Time between two tries, in ms. Default 50. */
  interval?: number;
}

/** ms that tests wait for a fact: it guards against hanging, and promises nothing. */
export const patienceMs = (): number => Number(process.env.WARREN_EVENTUALLY_MS || 30_000);

/**
 * Repeats `check` until it neither throws nor returns `false`, and returns its result; at the deadline it throws the last error.
 *
 * @example
 * await eventually(async () => expect(await countSessions()).to.equal(1));
 * const session = await eventually(() => findSession(userId) ?? false);
 */
export async function eventually<T>(
  check: () => T | Promise<T>,
  patience: Patience = {},
): Promise<Exclude<T, false>> {
  const { timeout = patienceMs(), interval = 50 } = patience;
  const deadline = Date.now() + timeout;
  for (;;) {
    let failure: unknown;
    try {
      const answer = await check();
      if (answer !== false) return answer as Exclude<T, false>;
    } catch (error) {
      failure = error;
    }
    if (Date.now() >= deadline) {
      throw failure ?? new Error(`what was waited for did not become true within ${timeout} ms`);
    }
    await wait(interval);
  }
}
