// What scripts/test.ts prints at its end.
import type { Ended } from './job.ts';
import type { Job } from './plan.ts';

export type Outcome = Job & Ended;

/** Prints the totals of each suite and of all, before them what failed; returns how many tests failed. */
export function printTotals(outcomes: Outcome[]): number {
  const suites = [...new Set(outcomes.map(({ suite }) => suite))].sort();
  const width = Math.max(0, ...suites.map((suite) => suite.length));
  console.log(`\n── totals ${'─'.repeat(94)}`);
  for (const suite of suites) {
    const jobs = outcomes.filter((outcome) => outcome.suite === suite);
    const faults = [...new Set(jobs.flatMap(({ fault }) => fault ?? []))];
    const seconds = sum(jobs, 'seconds').toFixed(1);
    console.log(
      `${suite.padEnd(width)}  ${counts(jobs)} (${seconds} s)${faults.length > 0 ? `: it ${faults.join(', ')}` : ''}`,
    );
  }
  const failures = outcomes.flatMap(({ suite, files, failures, fault }) => [
    ...failures.map((title) => `${suite} ${files.join(' ')}: ${title}`),
    ...(fault && failures.length === 0 ? [`${suite} ${files.join(' ')}: it ${fault}`] : []),
  ]);
  if (failures.length > 0) console.log(`\nFAILED\n${failures.map((line) => `  ${line}`).join('\n')}`);
  console.log(`\n${counts(outcomes)}`);
  return sum(outcomes, 'failed');
}

/** Prints the slowest tests and hooks, with how busy the machine was: one that waits is a candidate for a shorter wait. */
export function printSlowest(outcomes: Outcome[], count: number): void {
  const times = outcomes.flatMap(({ suite, times }) => times.map((time) => ({ suite, ...time })));
  console.log(`\n── the slowest ${count} ${'─'.repeat(85)}`);
  for (const { suite, title, ms, busy } of times.toSorted((a, b) => b.ms - a.ms).slice(0, count)) {
    const seconds = `${(ms / 1_000).toFixed(1)} s`.padStart(8);
    console.log(
      `${seconds}  machine busy ${String(Math.round(100 * busy)).padStart(3)} %  ${suite}: ${title}`,
    );
  }
}

function counts(outcomes: Outcome[]): string {
  const skipped = sum(outcomes, 'skipped');
  const rest = skipped > 0 ? `, ${skipped} skipped` : '';
  return `${sum(outcomes, 'passed')} passed, ${sum(outcomes, 'failed')} failed${rest}`;
}

const sum = (outcomes: Outcome[], key: 'passed' | 'failed' | 'skipped' | 'seconds'): number =>
  outcomes.reduce((total, outcome) => total + outcome[key], 0);
