// Shows facts in order of time: a commit is reported a few ms after its response.
import { setTimeout as wait } from 'node:timers/promises';

/** How long a fact may be delayed. */
const MAX_DELAY_MS = 15;

/** Shows each fact once no earlier one can arrive. */
export function inOrder<Fact>(show: (fact: Fact & { at: number }) => void) {
  const waiting: (Fact & { at: number })[] = [];
  return {
    /** `at` as of performance.now(). */
    add(fact: Fact & { at: number }): void {
      waiting.push(fact);
      waiting.sort((one, other) => one.at - other.at);
      setTimeout(() => {
        for (const due of waiting.splice(0, waiting.indexOf(fact) + 1)) show(due);
      }, MAX_DELAY_MS);
    },
    /** Resolves once all facts have been shown. */
    async shown(): Promise<void> {
      while (waiting.length > 0) await wait(5);
    },
  };
}
