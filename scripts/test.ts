// Every test suite, or those named:  node scripts/test.ts [packages/contracts services/user …]
// With --cluster: every suite that needs a Kubernetes cluster, whose package.json has a script `e2e` in place of `test`.
// The suites share one broker and one PostgreSQL, each test file on a vhost and a database of its own. Shows what the suites
// print, then the totals of each and of all; exits 1 when a test failed, a suite crashed or had no test.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { directories, read, root } from './tree.ts';

/** What a suite may take to end after Ctrl-C. */
const patience = 5_000;

interface Outcome {
  suite: string;
  passed: number;
  failed: number;
  skipped: number;
  seconds: number;
  /** Why it counts as failed though no test says so. */
  fault?: string;
}

const inCluster = process.argv.includes('--cluster');
const scriptOf = (suite: string): string | undefined =>
  JSON.parse(read(`${suite}/package.json`)).scripts?.[inCluster ? 'e2e' : 'test'];

/** A suite that takes longer hangs. */
const limit = (inCluster ? 60 : 25) * 60_000;

const suites = directories().filter(scriptOf);
const asked = process.argv
  .slice(2)
  .filter((argument) => argument !== '--cluster')
  .map((name) => name.replace(/^\.\/|\/$/g, ''));
const unknown = asked.filter((name) => !suites.includes(name));
if (unknown.length > 0) {
  console.error(`There is no suite called ${unknown.join(', ')}: the suites are ${suites.join(', ')}.`);
  process.exit(2);
}

let current: ChildProcess | undefined;
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (interrupted) current?.kill('SIGKILL');
    interrupted = true;
    // A Ctrl-C reached the suite as well; who stopped this process alone meant the suite too.
    if (signal === 'SIGTERM') current?.kill(signal);
    setTimeout(() => current?.kill('SIGKILL'), patience).unref();
  });
}

const scratch = mkdtempSync(join(tmpdir(), 'warren-test-'));
const outcomes: Outcome[] = [];
const chosen = asked.length > 0 ? asked : suites;
const services =
  !inCluster && chosen.some(usesTestkit) ? await startServices() : { environment: {}, stop: async () => {} };
try {
  for (const suite of chosen) {
    if (interrupted) break;
    console.log(`\n── ${suite} ${'─'.repeat(Math.max(0, 100 - suite.length))}`);
    outcomes.push(await run(suite, services.environment));
  }
} finally {
  await services.stop();
  rmSync(scratch, { recursive: true, force: true });
}
report();

function usesTestkit(suite: string): boolean {
  const { name, dependencies, devDependencies } = JSON.parse(read(`${suite}/package.json`));
  return [name, ...Object.keys({ ...dependencies, ...devDependencies })].includes('@warren/testkit');
}

/** What the suites would otherwise each start for themselves. */
async function startServices(): Promise<{ environment: Record<string, string>; stop(): Promise<void> }> {
  const { startBroker, startDatabase } = await import('../packages/testkit/src/index.ts');
  const broker = await startBroker();
  const stops = [() => broker.stop()];
  const stop = async () => {
    for (const each of stops.splice(0)) await each();
  };
  try {
    const database = await startDatabase();
    stops.unshift(() => database.stop());
    return {
      environment: {
        AMQP_URL: broker.url,
        AMQP_MANAGEMENT_URL: broker.managementUrl,
        DATABASE_URL: database.url,
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function run(suite: string, environment: Record<string, string>): Promise<Outcome> {
  const started = Date.now();
  const totals = join(scratch, `${suite.replaceAll('/', '-')}.json`);
  const directory = join(root, suite);
  // As `npm test` does, but as one process, which a signal reaches.
  const child = spawn(
    'sh',
    ['-c', `exec ${scriptOf(suite)} "$@"`, suite, '--reporter', join(root, 'scripts', 'test-reporter.cjs')],
    {
      cwd: directory,
      env: {
        ...process.env,
        ...environment,
        PATH: `${join(directory, 'node_modules', '.bin')}:${process.env.PATH}`,
        WARREN_TEST_TOTALS: totals,
      },
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  current = child;
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, limit);
  const ending = await new Promise<string | undefined>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (late) resolve(`did not end within ${limit / 60_000} minutes`);
      else if (interrupted) resolve('was interrupted');
      else resolve(code === 0 ? undefined : `ended with ${signal ?? `exit code ${code}`}`);
    });
  });
  clearTimeout(timer);
  current = undefined;

  const { passes, failures, pending } = readTotals(totals);
  const seconds = (Date.now() - started) / 1000;
  const outcome = { suite, passed: passes, failed: failures, skipped: pending, seconds };
  if (failures === 0 && ending) return { ...outcome, failed: 1, fault: ending };
  if (passes + failures === 0) return { ...outcome, failed: 1, fault: 'ran no test' };
  return outcome;
}

/** A suite that crashed has left none. */
function readTotals(path: string): { passes: number; failures: number; pending: number } {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return { passes: 0, failures: 0, pending: 0 };
  }
}

function report() {
  const width = Math.max(...outcomes.map(({ suite }) => suite.length));
  console.log(`\n── totals ${'─'.repeat(94)}`);
  for (const { suite, passed, failed, skipped, seconds, fault } of outcomes) {
    const counts = `${count(passed, failed, skipped)} (${seconds.toFixed(1)} s)`;
    console.log(`${suite.padEnd(width)}  ${counts}${fault ? `: it ${fault}` : ''}`);
  }
  const sum = (key: 'passed' | 'failed' | 'skipped') =>
    outcomes.reduce((total, outcome) => total + outcome[key], 0);
  console.log(`\n${count(sum('passed'), sum('failed'), sum('skipped'))}`);
  process.exitCode = interrupted ? 130 : sum('failed') > 0 ? 1 : 0;
}

function count(passed: number, failed: number, skipped: number): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
