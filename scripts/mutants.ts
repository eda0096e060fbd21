// Plants faults, one at a time, each into a copy of this checkout, and runs the tests that must find it:
//   node scripts/mutants.ts
// NAMES="refund,lease" chooses those whose name or file contains one of these; JOBS=2 is how many run beside each other.
// Runs the same tests first without a fault. Exits 1 when a fault is not found by any test.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Copy, copyCheckout } from './copy.ts';
import { doorsOfTheOutbox } from './mutants/doors.ts';
import { guarantees } from './mutants/guarantees.ts';
import { type Mutant, plant } from './mutants/mutant.ts';
import { saga } from './mutants/saga.ts';
import { jobsAtOnce, refuse } from './test/arguments.ts';
import { type Ended, type Running, runJob } from './test/job.ts';
import { startServices } from './test/services.ts';
import { read } from './tree.ts';

/** ms that a test waits for a fact: with a fault, often one that never comes. */
const EVENTUALLY_MS = 8_000;
/** ms; tests that take longer hang over the fault. */
const LIMIT = 5 * 60_000;

const names = (process.env.NAMES ?? '').split(',').map((name) => name.trim());
const chosen = [...saga, ...guarantees, ...doorsOfTheOutbox].filter(({ name, file }) =>
  names.some((part) => name.includes(part) || file.includes(part)),
);
if (chosen.length === 0) refuse(`No mutant has a name or file that contains '${names.join("' or '")}'.`);
const atOnce = jobsAtOnce(2);
for (const mutant of chosen) plant(mutant, read(mutant.file));

const running = new Set<Running>();
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    interrupted = true;
    for (const { kill } of running) kill(signal);
  });

const groups = Map.groupBy(chosen, ({ suite, tests }) => [suite, ...tests].join(' '));
/** Groups whose tests fail without a fault: they prove nothing. */
const broken = new Set<string>();
let passed = 0;
let failed = 0;

const scratch = mkdtempSync(join(tmpdir(), 'warren-mutants-'));
const copies: Copy[] = [];
const services = await startServices();
try {
  for (let count = 0; count < atOnce; count += 1) copies.push(copyCheckout());
  await runAll([...groups.keys()], runUnchanged);
  await runAll(chosen, runPlanted);
} finally {
  await services.stop();
  for (const copy of copies) copy.remove();
  rmSync(scratch, { recursive: true, force: true });
}
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = interrupted ? 130 : failed > 0 ? 1 : 0;

/** Each copy has one at a time. */
async function runAll<T>(all: T[], runOne: (copy: Copy, each: T) => Promise<void>): Promise<void> {
  const queue = [...all];
  const work = async (copy: Copy) => {
    for (let each = queue.shift(); each !== undefined && !interrupted; each = queue.shift())
      await runOne(copy, each);
  };
  await Promise.all(copies.map(work));
}

async function runUnchanged(copy: Copy, group: string): Promise<void> {
  const [first, ...others] = groups.get(group) as [Mutant, ...Mutant[]];
  const titles = [first, ...others].map(({ title }) => title);
  const pattern = titles.map((title) => title?.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')).join('|');
  const ended = await run(copy, first, titles.includes(undefined) ? [] : ['--grep', pattern]);
  if (interrupted) return;
  if (ended.failed === 0) return print('unchanged', ended, group);
  failed += 1;
  broken.add(group);
  print('FAILS UNCHANGED', ended, `${group}\n${ended.output}`);
}

async function runPlanted(copy: Copy, mutant: Mutant): Promise<void> {
  const { name, file, suite, tests, title } = mutant;
  if (broken.has([suite, ...tests].join(' '))) return;
  const ended = await copy.with({ [file]: plant(mutant, copy.read(file)) }, () =>
    run(copy, mutant, ['--bail', ...(title === undefined ? [] : ['--fgrep', title])]),
  );
  if (interrupted) return;
  const ranNoTest = ended.passed + ended.failures.length === 0 && ended.fault === 'ran no test';
  if (ended.failed > 0 && !ranNoTest) {
    passed += 1;
    print(
      'found',
      ended,
      `${name}\n${' '.repeat(16)}by ${ended.failures[0] ?? `the run: it ${ended.fault}`}`,
    );
  } else {
    failed += 1;
    print('NOT FOUND', ended, `${name}: ${file}${ranNoTest ? ', because no test ran' : ''}`);
  }
}

async function run(copy: Copy, { suite, tests }: Mutant, options: string[]): Promise<Ended> {
  const started = runJob(
    { suite, files: [...tests, ...options], alone: false },
    {
      checkout: copy.root,
      script: 'mocha',
      environment: { ...services.environment, WARREN_EVENTUALLY_MS: String(EVENTUALLY_MS) },
      totals: join(scratch, `${copies.indexOf(copy)}-${passed}-${failed}-${performance.now()}.json`),
      limit: LIMIT,
      live: false,
      interrupted: () => interrupted,
    },
  );
  running.add(started);
  return started.ended.finally(() => running.delete(started));
}

function print(what: string, { seconds }: Ended, rest: string): void {
  console.log(`${what.padEnd(9)} ${seconds.toFixed(0).padStart(4)} s  ${rest}`);
}
