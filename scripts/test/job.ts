// One mocha process of scripts/test.ts: its output, kept until it is printed, and what it left of totals.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../tree.ts';
import type { Job } from './plan.ts';

export interface Ended {
  passed: number;
  failed: number;
  skipped: number;
  seconds: number;
  /** Titles of the tests and hooks that failed. */
  failures: string[];
  times: { title: string; ms: number; busy: number }[];
  output: string;
  /** Why the job counts as failed though no test says so. */
  fault?: string;
}

export interface Running {
  kill(signal: NodeJS.Signals): void;
  ended: Promise<Ended>;
}

export interface RunOptions {
  /** Where the suite is, when that is a copy of this checkout. */
  checkout?: string;
  script: string;
  environment: Record<string, string>;
  /** Where the reporter writes. */
  totals: string;
  /** ms; a job that takes longer hangs. */
  limit: number;
  /** Shows the output as it comes, in place of keeping it. */
  live: boolean;
  interrupted(): boolean;
}

/**
 * This process's environment, with the programs of a directory's dependencies on the PATH, as npm has it. To load a service takes
 * half of the processor time when its modules are compiled already; but coverage of cached code is less exact.
 */
export const environmentOf = (directory: string): NodeJS.ProcessEnv => ({
  ...process.env,
  PATH: `${join(directory, 'node_modules', '.bin')}:${process.env.PATH}`,
  ...(process.env.NODE_V8_COVERAGE === undefined && {
    NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'node'),
  }),
});

/** As `npm test` does, but as one process, which a signal reaches. */
export function runJob({ suite, files }: Job, options: RunOptions): Running {
  const { checkout = root, script, environment, totals, limit, live } = options;
  const directory = join(checkout, suite);
  const command = files.length > 0 ? 'mocha' : script;
  const began = performance.now();
  const child = spawn(
    'sh',
    [
      '-c',
      `exec ${command} "$@"`,
      suite,
      ...files,
      '--reporter',
      join(root, 'scripts', 'test-reporter.cjs'),
      ...(process.stdout.isTTY ? ['--color'] : []),
    ],
    {
      cwd: directory,
      env: { ...environmentOf(directory), ...environment, WARREN_TEST_TOTALS: totals },
      stdio: ['ignore', live ? 'inherit' : 'pipe', live ? 'inherit' : 'pipe'],
    },
  );
  const chunks: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => chunks.push(chunk));
  return {
    kill: (signal) => void child.kill(signal),
    ended: endOf(child, limit, options.interrupted).then((ending) => {
      const { passes, failures, pending, failed, times } = readTotals(totals);
      const ended: Ended = {
        passed: passes,
        failed: failures,
        skipped: pending,
        seconds: (performance.now() - began) / 1_000,
        failures: failed,
        times,
        output: Buffer.concat(chunks).toString(),
      };
      if (failures === 0 && ending) return { ...ended, failed: 1, fault: ending };
      if (passes + failures + pending === 0) return { ...ended, failed: 1, fault: 'ran no test' };
      return ended;
    }),
  };
}

/** What is wrong with the way a process ended, if anything is. */
function endOf(child: ChildProcess, limit: number, interrupted: () => boolean): Promise<string | undefined> {
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, limit);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (late) resolve(`did not end within ${limit / 60_000} minutes`);
      else if (interrupted()) resolve('was interrupted');
      else resolve(code === 0 ? undefined : `ended with ${signal ?? `exit code ${code}`}`);
    });
  });
}

interface Totals {
  passes: number;
  failures: number;
  pending: number;
  failed: string[];
  times: Ended['times'];
}

/** A process that crashed has left none. */
function readTotals(path: string): Totals {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return { passes: 0, failures: 0, pending: 0, failed: [], times: [] };
  }
}
