// News of a commit comes a few ms behind the answer that it gave.
import { setTimeout as wait } from 'node:timers/promises';

/** How far behind, in ms. */
const delay = 15;

/** Shows each fact by its time, as soon as none can come that was before it. */
export function inOrder<Fact>(show: (fact: Fact & { at: number }) => void) {
  const waiting: (Fact & { at: number })[] = [];
  return {
    /** `at` as of performance.now(). */
    add(fact: Fact & { at: number }): void {
      waiting.push(fact);
      waiting.sort((one, other) => one.at - other.at);
      setTimeout(() => {
        for (const due of waiting.splice(0, waiting.indexOf(fact) + 1)) show(due);
      }, delay);
    },
    /** Resolves when all of them have been shown. */
    async shown(): Promise<void> {
      while (waiting.length > 0) await wait(5);
    },
  };
}
