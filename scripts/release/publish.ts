// Builds and publishes one unit. Every published version is final: what exists already is refused, not replaced.
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pack } from '../pack.ts';
import { repositoryUrl } from '../repository.ts';
import { read, root } from '../tree.ts';
import type { Unit } from './units.ts';

export interface PublishOptions {
  /** Builds everything and publishes nothing. */
  dryRun: boolean;
  /** Images get an SBOM and a provenance, which needs a builder that can write them. */
  attestations: boolean;
}

/** @throws {Error} which names what is missing, what exists already, or the command that failed */
export async function publish(unit: Unit, options: PublishOptions): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'warren-release-'));
  try {
    await { package: publishPackage, service: publishImage, chart: publishChart }[unit.kind](
      unit,
      options,
      scratch,
    );
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** npm has the registry, the token and the provenance from its own settings (`npm_config_…`). */
async function publishPackage(
  { directory, version }: Unit,
  { dryRun }: PublishOptions,
  scratch: string,
): Promise<void> {
  if (!dryRun && repositoryUrl() === undefined)
    throw new Error(
      'the URL of the repository is unknown: set REPOSITORY_URL, or the remote origin. npm shows it, and checks the provenance by it',
    );
  const siblings = Object.entries<string>(JSON.parse(read(`${directory}/package.json`)).dependencies ?? {})
    .filter(([, range]) => range.startsWith('file:'))
    .map(([name, range]) => ({ name, ...JSON.parse(read(join(directory, range.slice(5), 'package.json'))) }));
  for (const sibling of dryRun ? [] : siblings)
    if (!succeeds('npm', ['view', `${sibling.name}@^${sibling.version}`, 'version']))
      throw new Error(`${sibling.name}@^${sibling.version} is not published: release it first`);
  // `npm install` takes a pre-release only when it is asked for.
  const tag = version.includes('-') ? ['--tag', 'next'] : [];
  for (const file of (await pack(scratch, [directory])).values())
    await run('npm', ['publish', file, ...tag, ...(dryRun ? ['--dry-run'] : [])]);
}

async function publishImage(unit: Unit, { dryRun, attestations }: PublishOptions): Promise<void> {
  const image = `${dryRun ? '' : `${setting('IMAGE_REGISTRY')}/`}warren/${unit.name}:${unit.version}`;
  if (!dryRun && succeeds('docker', ['buildx', 'imagetools', 'inspect', image])) throw alreadyThere(image);
  await run('docker', [
    ...['buildx', 'build', '--file', 'services/Dockerfile', '--tag', image],
    ...['--build-arg', `SERVICE=${unit.name}`, '--build-arg', `VERSION=${unit.version}`],
    ...['--build-arg', `REVISION=${revision()}`],
    ...(process.env.NODE_IMAGE ? ['--build-arg', `NODE_IMAGE=${process.env.NODE_IMAGE}`] : []),
    ...(attestations ? ['--sbom=true', '--provenance=mode=max'] : ['--provenance=false']),
    ...(dryRun ? ['--output=type=cacheonly'] : ['--push']),
    '.',
  ]);
}

async function publishChart(unit: Unit, { dryRun }: PublishOptions, scratch: string): Promise<void> {
  const name = unit.directory.replace('charts/', '');
  // Of copies: Helm writes the dependencies into the chart.
  for (const directory of new Set(['charts/chassis', unit.directory]))
    cpSync(join(root, directory), join(scratch, directory), { recursive: true });
  await run('helm', [
    ...['package', join(scratch, unit.directory)],
    ...['--dependency-update', '--destination', scratch],
  ]);
  if (dryRun) return;
  const registry = `${setting('CHART_REGISTRY')}/charts`;
  // Registries on this machine have no certificate.
  const plain = /^(localhost|127\.0\.0\.1)[:/]/.test(registry) ? ['--plain-http'] : [];
  if (succeeds('helm', ['show', 'chart', `oci://${registry}/${name}`, '--version', unit.version, ...plain]))
    throw alreadyThere(`${registry}/${name}:${unit.version}`);
  await run('helm', ['push', join(scratch, `${name}-${unit.version}.tgz`), `oci://${registry}`, ...plain]);
}

const alreadyThere = (reference: string) =>
  new Error(`${reference} is published already: a version is final, so raise it`);

/** @throws {Error} that says what the variable is */
function setting(name: 'IMAGE_REGISTRY' | 'CHART_REGISTRY'): string {
  const value = process.env[name];
  if (value) return value.replace(/\/+$/, '');
  throw new Error(
    `${name} is missing: set it to a registry and a path in it, such as registry.example.com/team`,
  );
}

function revision(): string {
  const { status, stdout } = spawnSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : 'unknown';
}

const succeeds = (command: string, args: string[]): boolean =>
  spawnSync(command, args, { cwd: root, stdio: 'ignore' }).status === 0;

function run(command: string, args: string[]): Promise<void> {
  console.log(`$ ${[command, ...args].join(' ')}`);
  const child = spawn(command, args, { cwd: root, stdio: 'inherit' });
  return new Promise((resolve, reject) => {
    child.on('error', (cause) => reject(new Error(`cannot run ${command}: install it`, { cause })));
    child.on('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`${command} ${args[0]} failed with exit code ${code}`)),
    );
  });
}
