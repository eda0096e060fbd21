// What is asked of a run of tests: suites, files, and how many at once.
import { availableParallelism } from 'node:os';

export const isFile = (name: string): boolean => name.endsWith('.test.ts');

/** `services/user` of `services/user/test/users.test.ts`, `bench` of `bench/test/accounting.test.ts`. */
export const suiteOf = (file: string): string => file.split(/\/(?:src|test|migrations)\//)[0] as string;

/** The number in JOBS, or else `fallback`. Exits with 2 and a sentence when it is not one. */
export function jobsAtOnce(fallback = availableParallelism() + 2): number {
  const { JOBS } = process.env;
  if (!JOBS) return fallback;
  if (!/^[1-9]\d*$/.test(JOBS)) refuse(`JOBS must be a whole number of at least 1, not ${JOBS}.`);
  return Number(JOBS);
}

/** Ends this process over what it was given. */
export function refuse(sentence: string): never {
  console.error(sentence);
  process.exit(2);
}
