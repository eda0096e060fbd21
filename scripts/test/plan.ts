// What scripts/test.ts runs: suites, cut into jobs that may run beside each other.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { files, read, root } from '../tree.ts';

/** One mocha process. */
export interface Job {
  suite: string;
  /** Test files, seen from the suite; none: whatever the suite's own script runs. */
  files: string[];
  /** Nothing else runs meanwhile. A file asks for it by its name: `NAME.alone.test.ts`. */
  alone: boolean;
}

/** The usual script of a suite, whose files can be shared out. */
const EVERY_FILE = "mocha 'test/**/*.test.ts'";

/** Bytes of test files that make one job: a mocha process costs a second or so before its first test. */
const JOB_BYTES = 16_000;

export function scriptOf(suite: string, name: 'test' | 'e2e' | 'fuzz'): string | undefined {
  return JSON.parse(read(`${suite}/package.json`)).scripts?.[name];
}

/** The jobs of a suite, in the order of its files. */
export function jobsOf(suite: string, script: string): Job[] {
  if (script !== EVERY_FILE) return [{ suite, files: [], alone: false }];
  const jobs: Job[] = [];
  let room = 0;
  for (const path of files(`${suite}/test/**/*.test.ts`)) {
    const file = path.slice(suite.length + 1);
    const alone = file.endsWith('.alone.test.ts');
    const size = statSync(join(root, path)).size;
    const last = jobs.at(-1);
    if (!alone && last && !last.alone && size <= room) {
      last.files.push(file);
      room -= size;
    } else {
      jobs.push({ suite, files: [file], alone });
      room = JOB_BYTES - size;
    }
  }
  return jobs.length > 0 ? jobs : [{ suite, files: [], alone: false }];
}

/** Tests of the whole take longest: they begin first, so that none of them is left running by itself at the end. */
export const inOrder = (jobs: Job[]): Job[] =>
  jobs.toSorted((a, b) => Number(b.suite.startsWith('e2e/')) - Number(a.suite.startsWith('e2e/')));
