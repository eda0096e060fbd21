// A target of the fuzzer: a `describe` whose tests are properties, each with the same seed.
import fc from 'fast-check';
import { replayCommand, settings, type TargetName } from './settings.ts';

/** Failed cases after which shrinking stops: each may have cost a process. */
const SHRINKS = 20;
/** ms for one test; it guards against hanging, and promises nothing. */
const TEST_MS = 10 * 60_000;

export interface Target {
  /**
   * A test that generates cases and checks each, one after the other.
   * @param runs number of cases at MINUTES=1
   * @param check throws when the system does not keep its promise
   * @param options shrinks: failed cases after which shrinking stops, default 20
   */
  property<Case>(
    title: string,
    runs: number,
    cases: fc.Arbitrary<Case>,
    check: (one: Case) => Promise<void>,
    options?: { shrinks?: number },
  ): void;
}

/** Defines the tests of a target, unless TARGETS leaves it out. */
export function target(name: TargetName, define: (target: Target) => void): void {
  describe(`fuzz ${name}`, function () {
    this.timeout(TEST_MS * Math.max(1, settings.minutes));
    if (!settings.targets.includes(name)) {
      it('is not among TARGETS');
      return;
    }
    define({
      property(title, runs, cases, check, { shrinks = SHRINKS } = {}) {
        const { replay } = settings;
        if (replay !== undefined && replay.test !== title) return;
        it(title, () => run(name, title, runs, cases, check, shrinks));
      },
    });
  });
}

async function run<Case>(
  target: TargetName,
  title: string,
  runs: number,
  cases: fc.Arbitrary<Case>,
  check: (one: Case) => Promise<void>,
  shrinks: number,
): Promise<void> {
  let failures = 0;
  const property = fc.asyncProperty(cases, async (one) => {
    if (failures >= shrinks) return;
    try {
      await check(one);
    } catch (error) {
      failures += 1;
      throw error;
    }
  });
  const { replay, seed, minutes } = settings;
  const details = await fc.check(property, {
    seed,
    numRuns: Math.max(1, Math.round(runs * minutes)),
    ...(replay !== undefined && { path: replay.path, endOnFailure: true }),
  });
  if (!details.failed) return;
  const { counterexample, counterexamplePath, errorInstance, numRuns } = details;
  const reason = errorInstance instanceof Error ? errorInstance.message : String(errorInstance);
  const text = fc.stringify(counterexample?.[0]);
  throw new Error(
    [
      `case ${numRuns}: ${reason}`,
      `input: ${text.length > 3_000 ? `${text.slice(0, 3_000)}… (${text.length} characters)` : text}`,
      `again: ${replayCommand(target, title, counterexamplePath ?? '')}`,
    ].join('\n'),
  );
}
