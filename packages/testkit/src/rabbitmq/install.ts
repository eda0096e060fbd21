import { execFile, spawn } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { chmod, rename, rm, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { registerCleanup } from '../cleanup.ts';
import type { Log } from '../log.ts';

const execute = promisify(execFile);

/** Where package managers put the server: on the PATH, or where only root looks. */
const places = [
  // Debian's rabbitmq-server on the PATH is a wrapper that insists on the system's user; this is what it calls.
  '/usr/lib/rabbitmq/bin',
  ...(process.env.PATH ?? '').split(delimiter),
  '/usr/sbin',
  '/usr/local/sbin',
  '/opt/homebrew/sbin',
];

function findProgram(name: string, directories: string[] = places): string | undefined {
  return directories
    .filter(Boolean)
    .map((directory) => join(directory, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

export const findServer = (): string | undefined => findProgram('rabbitmq-server');

/** epmd, which Erlang does not always put on the PATH. */
export async function findEpmd(): Promise<string> {
  const onPath = findProgram('epmd');
  if (onPath) return onPath;
  const { stdout } = await execute('erl', [
    '-noshell',
    '-eval',
    'io:format("~s", [code:root_dir()]), halt().',
  ]);
  const found = findProgram('epmd', [join(stdout.trim(), 'bin')]);
  if (!found)
    throw new Error(`Erlang's epmd is neither on the PATH nor in ${stdout.trim()}/bin: install Erlang again`);
  return found;
}

export const canInstall = (): boolean =>
  process.platform === 'linux' && process.getuid?.() === 0 && existsSync('/usr/bin/apt-get');

/**
 * `apt-get install rabbitmq-server`, without starting its service.
 *
 * @throws with apt's last words when it fails
 */
export async function installServer(log: Log): Promise<string> {
  log('no broker found: installing rabbitmq-server with apt-get, once (its service is not started)');
  const allow = await denyServices();
  try {
    const install = ['install', '-y', '-q', '--no-install-recommends', 'rabbitmq-server'];
    // The lists may be missing (a fresh container) or name versions that are gone: refresh them when they do not do.
    await apt(install, log).catch(async () => {
      log('refreshing the package lists (apt-get update)');
      await apt(['update', '-q'], log);
      await apt(install, log);
    });
  } finally {
    await allow();
  }
  const server = findServer();
  if (!server) throw new Error('apt-get installed rabbitmq-server, but there is no such program afterwards');
  log('rabbitmq-server is installed');
  return server;
}

async function apt(parameters: string[], log: Log): Promise<void> {
  const child = spawn('apt-get', ['-o', 'DPkg::Lock::Timeout=120', ...parameters], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
  });
  let output = '';
  let unpacked = 0;
  let total = 0;
  const read = (chunk: Buffer) => {
    output = (output + chunk).slice(-20_000);
    const planned = /(\d+) newly installed/.exec(output);
    if (planned && !total) {
      total = Number(planned[1]);
      if (total) log(`apt-get installs ${total} packages`);
    }
    const before = unpacked;
    unpacked += String(chunk).match(/^Setting up /gm)?.length ?? 0;
    if (total && Math.floor((unpacked * 4) / total) > Math.floor((before * 4) / total)) {
      log(`apt-get: ${unpacked} of ${total} packages set up`);
    }
  };
  child.stdout.on('data', read);
  child.stderr.on('data', read);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) {
    const errors = output.split('\n').filter((line) => line.startsWith('E: '));
    throw new Error(
      `apt-get ${parameters[0]} failed: ${errors.join(' ') || output.trim().split('\n').at(-1)}`,
    );
  }
}

/** Debian starts a service when its package is installed, unless this file says no. */
async function denyServices(path = '/usr/sbin/policy-rc.d'): Promise<() => Promise<void>> {
  if (await denies(path)) return async () => {};
  const saved = existsSync(path) ? `${path}.before-warren` : undefined;
  if (saved) await rename(path, saved);
  const release = registerCleanup({ type: 'file', path, from: saved });
  await writeFile(path, '#!/bin/sh\nexit 101\n');
  await chmod(path, 0o755);
  return async () => {
    if (saved) await rename(saved, path);
    else await rm(path, { force: true });
    release();
  };
}

async function denies(path: string): Promise<boolean> {
  if (!existsSync(path)) return false;
  return execute(path, ['rabbitmq-server', 'start']).then(
    () => false,
    (error: { code?: number }) => error.code === 101,
  );
}
