// Runs every test suite, or those named, or files:  node scripts/test.ts [packages/contracts services/user/test/users.test.ts …]
// With --cluster: the suites that need a Kubernetes cluster, whose package.json has a script `e2e` instead of `test`, or files of them.
// With --fuzz: the suites of random input, whose script is called `fuzz`.
// JOBS files run at a time (default: two more than processors, because tests wait more than they compute), on one broker and one
// PostgreSQL, each with its own vhost and database; files called NAME.alone.test.ts run by themselves, at the end. Prints the output of
// one suite after the other, then the totals; exits 1 when a test failed, a suite crashed or had no test. SLOW=1 prints the
// slowest 20 tests.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isFile, jobsAtOnce, refuse, suiteOf } from './test/arguments.ts';
import { type Running, runJob } from './test/job.ts';
import { inOrder, type Job, jobsOf, scriptOf } from './test/plan.ts';
import { type Outcome, printSlowest, printTotals } from './test/report.ts';
import { startServices } from './test/services.ts';
import { directories, read, root } from './tree.ts';

/** ms that suites may take to end after Ctrl-C */
const INTERRUPT_GRACE_MS = 5_000;
/** ms between two lines of progress */
const PROGRESS_MS = 30_000;

const inCluster = process.argv.includes('--cluster');
const script = inCluster ? 'e2e' : process.argv.includes('--fuzz') ? 'fuzz' : 'test';
const asked = process.argv
  .slice(2)
  .filter((argument) => argument !== '--cluster' && argument !== '--fuzz')
  .map((name) => name.replace(/^\.\/|\/$/g, ''));
const chosen = chooseSuites();
const atOnce = inCluster ? 1 : jobsAtOnce();
/** ms; a job that takes longer hangs. */
const limit = (inCluster ? 60 : 25) * 60_000;

const running = new Map<Job, Running>();
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interrupt(signal));

const jobs = chosen.flatMap(jobsAsked);
const scratch = mkdtempSync(join(tmpdir(), 'warren-test-'));
const outcomes: Outcome[] = [];
const began = performance.now();
const services =
  !inCluster && chosen.some(usesTestkit) ? await startServices() : { environment: {}, stop: async () => {} };
const progress = setInterval(printProgress, PROGRESS_MS);
try {
  await runAll(inOrder(jobs.filter(({ alone }) => !alone)), atOnce);
  await runAll(
    jobs.filter(({ alone }) => alone),
    1,
  );
} finally {
  clearInterval(progress);
  await services.stop();
  rmSync(scratch, { recursive: true, force: true });
}
if (process.env.SLOW) printSlowest(outcomes, 20);
const failed = printTotals(outcomes);
process.exitCode = interrupted ? 130 : failed > 0 ? 1 : 0;

function chooseSuites(): string[] {
  const suites = directories().filter((suite) => scriptOf(suite, script));
  const named = [...new Set(asked.map((name) => (isFile(name) ? suiteOf(name) : name)))];
  const unknown = named.filter((name) => !suites.includes(name));
  if (unknown.length > 0)
    refuse(`Unknown suite: ${unknown.join(', ')}. The suites are ${suites.join(', ')}.`);
  return named.length > 0 ? named : suites;
}

function jobsAsked(suite: string): Job[] {
  const files = asked.filter((name) => isFile(name) && suiteOf(name) === suite);
  const missing = files.find((file) => !existsSync(join(root, file)));
  if (missing) refuse(`The file ${missing} does not exist.`);
  // What the tests of a cluster find out about it, they find out once in a process.
  if (files.length === 0 && !inCluster) return jobsOf(suite, scriptOf(suite, script) as string);
  return [{ suite, files: files.map((file) => file.slice(suite.length + 1)), alone: false }];
}

function interrupt(signal: NodeJS.Signals): void {
  const everyJob = (how: NodeJS.Signals) => {
    for (const { kill } of running.values()) kill(how);
  };
  if (interrupted) everyJob('SIGKILL');
  interrupted = true;
  // A Ctrl-C reached the jobs as well; who stopped this process alone meant them, too.
  if (signal === 'SIGTERM') everyJob(signal);
  setTimeout(() => everyJob('SIGKILL'), INTERRUPT_GRACE_MS).unref();
}

async function runAll(queue: Job[], count: number): Promise<void> {
  const work = async () => {
    for (let job = queue.shift(); job && !interrupted; job = queue.shift()) await run(job);
  };
  await Promise.all(Array.from({ length: count }, work));
}

async function run(job: Job): Promise<void> {
  // One job alone is watched as it runs.
  const live = jobs.length === 1 || inCluster;
  if (live) printHeading(job.suite);
  const started = runJob(job, {
    script: scriptOf(job.suite, script) as string,
    environment: services.environment,
    totals: join(scratch, `${jobs.indexOf(job)}.json`),
    limit,
    live,
    interrupted: () => interrupted,
  });
  running.set(job, started);
  const ended = await started.ended;
  running.delete(job);
  outcomes.push({ ...job, ...ended });
  if (!live) printFinished(job.suite);
}

/** Prints a suite once its last job has ended, in the order of its files. */
function printFinished(suite: string): void {
  const planned = jobs.filter((job) => job.suite === suite);
  const ended = planned.map((job) =>
    outcomes.find(({ files, suite }) => suite === job.suite && files === job.files),
  );
  if (ended.includes(undefined)) return;
  printHeading(suite);
  for (const outcome of ended) console.log(outcome?.output.replace(/^\n+|\s+$/g, ''));
}

function printHeading(suite: string): void {
  console.log(`\n── ${suite} ${'─'.repeat(Math.max(0, 100 - suite.length))}`);
}

function printProgress(): void {
  if (jobs.length === 1 || inCluster) return;
  const now = [...running.keys()].map(
    ({ suite, files }) => `${suite} ${files.join(' ').replaceAll('test/', '')}`,
  );
  const minutes = ((performance.now() - began) / 60_000).toFixed(1);
  console.log(`· ${minutes} min: ${outcomes.length} of ${jobs.length} jobs ended; now ${now.join(', ')}`);
}

function usesTestkit(suite: string): boolean {
  const { name, dependencies, devDependencies } = JSON.parse(read(`${suite}/package.json`));
  return [name, ...Object.keys({ ...dependencies, ...devDependencies })].includes('@warren/testkit');
}
