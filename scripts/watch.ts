// Runs what a change touches:  node scripts/watch.ts
// A test file that is saved runs alone; source runs the tests of its directory, then those of the services and packages that
// depend on it. A change that comes meanwhile starts over. Uses the broker and the database of `make services`.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { watch } from 'node:fs';
import { join } from 'node:path';
import { isFile, suiteOf } from './test/arguments.ts';
import { environmentOf } from './test/job.ts';
import { scriptOf } from './test/plan.ts';
import { directories, read, root } from './tree.ts';

/** ms without a further change, before tests start: editors write a file in several steps. */
const SETTLE_MS = 200;
const PARENTS = ['packages', 'services', 'e2e'] as const;

const started = spawnSync(process.execPath, [join(root, 'scripts', 'keep-services.ts')], {
  stdio: 'inherit',
});
if (started.status !== 0) process.exit(1);

const changed = new Set<string>();
let timer: NodeJS.Timeout | undefined;
let child: ChildProcess | undefined;
let round = 0;

for (const parent of PARENTS) {
  watch(join(root, parent), { recursive: true }, (_event, name) => {
    if (!name || !/^[^/]+\/(src|test|migrations)\//.test(name)) return;
    changed.add(`${parent}/${name}`);
    clearTimeout(timer);
    timer = setTimeout(() => void runTouched(), SETTLE_MS);
  });
}
console.log(
  'Watching packages, services and e2e. Press Ctrl-C to exit; make services STOP=1 stops the servers.',
);

async function runTouched(): Promise<void> {
  round += 1;
  const mine = round;
  child?.kill('SIGTERM');
  const paths = [...changed];
  for (const [suite, files] of touched(paths)) {
    console.log(`\n── ${suite} ${files.join(' ')}`);
    const passed = await runMocha(suite, files);
    if (mine !== round) return;
    if (!passed) break;
  }
  changed.clear();
}

/** Suites with their files, none for all of them, in the order in which to run them. */
function touched(paths: string[]): Map<string, string[]> {
  const suites = new Map<string, string[]>();
  for (const path of paths.filter(isFile)) {
    const suite = suiteOf(path);
    suites.set(suite, [...(suites.get(suite) ?? []), path.slice(suite.length + 1)]);
  }
  for (const path of paths.filter((path) => !isFile(path))) {
    const suite = suiteOf(path);
    suites.set(suite, []);
    // What tests alone use touches no other directory, and tests of the whole take too long for a loop like this.
    if (!path.startsWith(`${suite}/src/`)) continue;
    for (const other of dependents(suite)) if (!suites.has(other)) suites.set(other, []);
  }
  return suites;
}

function dependents(directory: string): string[] {
  const { name } = JSON.parse(read(`${directory}/package.json`));
  return directories('packages', 'services').filter((other) => {
    const { dependencies } = JSON.parse(read(`${other}/package.json`));
    return name in (dependencies ?? {});
  });
}

function runMocha(suite: string, files: string[]): Promise<boolean> {
  const script = files.length > 0 ? `mocha ${files.join(' ')}` : scriptOf(suite, 'test');
  if (!script) return Promise.resolve(true);
  const directory = join(root, suite);
  const running = spawn('sh', ['-c', `exec ${script}`], {
    cwd: directory,
    env: environmentOf(directory),
    stdio: 'inherit',
  });
  child = running;
  return new Promise((resolve) => running.on('close', (code) => resolve(code === 0)));
}
