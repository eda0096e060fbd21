// Runs all checks of this checkout, or those that are named:  node scripts/check.ts [types lint …]
// Prints a line for each check with its findings, and the totals; exits 1 if there is a finding. A check whose tools are missing
// says so, and counts as skipped.
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { checkAlerts } from './check-alerts.ts';
import { checkAudit } from './check-audit.ts';
import { checkCharts } from './check-charts.ts';
import { checkCircles } from './check-circles.ts';
import { checkCommits } from './check-commits.ts';
import { checkDocs } from './check-docs.ts';
import { checkImports } from './check-imports.ts';
import { checkLockfiles } from './check-lockfiles.ts';
import { checkPackages } from './check-packages.ts';
import { checkReleases } from './check-releases.ts';
import { checkWorkflows } from './check-workflows.ts';
import { NotRun } from './not-run.ts';
import { files, root, typescriptDirectories } from './tree.ts';

/** Returns the findings, or throws a NotRun. */
const checks: Record<string, () => Promise<string[]> | string[]> = {
  types: () =>
    each(['.', ...typescriptDirectories()], (directory) =>
      tool('tsc', ['--noEmit', '--pretty', 'false', '-p', directory]),
    ),
  lint: () => tool('biome', ['check', '--error-on-warnings', '--max-diagnostics=50', '--colors=off', '.']),
  'dead-code': () =>
    each(['.', ...typescriptDirectories()], async (directory) => {
      const config = join(root, directory === '.' ? 'knip.json' : 'knip.package.json');
      const found = await tool('knip', [
        '--no-progress',
        '--no-config-hints',
        '--config',
        config,
        '-D',
        directory,
      ]);
      return found.map((output) => `${directory}:\n${output}`);
    }),
  imports: () => [...checkImports(), ...checkCircles()],
  lockfiles: checkLockfiles,
  packages: checkPackages,
  releases: checkReleases,
  workflows: checkWorkflows,
  definitions: () => run(process.execPath, ['scripts/definitions.ts', '--check']),
  openapi: async () => [
    ...(await run(process.execPath, ['scripts/openapi.ts', '--check'])),
    ...(await tool('redocly', ['lint', '--format=stylish', ...files('docs/reference/openapi/*.json')])),
  ],
  asyncapi: () => run(process.execPath, ['scripts/asyncapi.ts', '--check']),
  reference: () => run(process.execPath, ['scripts/reference.ts', '--check']),
  docs: checkDocs,
  commits: checkCommits,
  alerts: checkAlerts,
  charts: async () => {
    const drift = await run(process.execPath, ['scripts/charts.ts', '--check']);
    return drift.length > 0 ? drift : checkCharts();
  },
  audit: checkAudit,
};
/** Run only when they are named: their outcome depends on more than this checkout. */
const onDemand = ['audit'];

/** redocly checks for no newer version, and sends no telemetry. */
const quiet = { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' };

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in checks));
if (unknown.length > 0) {
  console.error(`Unknown check: ${unknown.join(', ')}. The checks are ${Object.keys(checks).join(', ')}.`);
  process.exit(2);
}

let failed = 0;
let skipped = 0;
const names = asked.length > 0 ? asked : Object.keys(checks).filter((name) => !onDemand.includes(name));
for (const name of names) {
  const started = Date.now();
  const findings = await find(name);
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  if (findings instanceof NotRun) {
    console.log(`skip ${name.padEnd(12)} ${findings.message}`);
    skipped += 1;
    continue;
  }
  console.log(`${findings.length === 0 ? 'ok  ' : 'FAIL'} ${name.padEnd(12)} ${seconds} s`);
  for (const finding of findings) console.log(finding.replace(/^/gm, '     '));
  if (findings.length > 0) failed += 1;
}
const passed = names.length - failed - skipped;
console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failed > 0 ? 1 : 0;

async function find(name: string): Promise<string[] | NotRun> {
  try {
    return (await checks[name]?.()) ?? [];
  } catch (error) {
    if (error instanceof NotRun) return error;
    throw error;
  }
}

function tool(name: string, args: string[]): Promise<string[]> {
  return run(process.execPath, [join(root, 'node_modules', '.bin', name), ...args]);
}

/** The output of a command that failed, as one finding. */
function run(command: string, args: string[]): Promise<string[]> {
  const child = spawn(command, args, { cwd: root, env: quiet, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) =>
      resolve(code === 0 ? [] : [output.trim() || `${args[0]} failed with ${signal ?? code} and no output`]),
    );
  });
}

/** Findings of all items, as many at once as there are processors. */
async function each(items: string[], find: (item: string) => Promise<string[]>): Promise<string[]> {
  const found: string[][] = [];
  const queue = [...items.entries()];
  const work = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) found[next[0]] = await find(next[1]);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  return found.flat();
}
