// An npm registry of one's own, for the packages of this repository alone; npm asks its usual one for all others.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually, freePort, registerCleanup } from '@warren/testkit';
import { run } from './run.ts';

/** Everybody may publish: it listens on this machine, for as long as the test runs. */
const SETTINGS = `
storage: ./storage
packages:
  '@warren/*': { access: $all, publish: $all }
log: { type: stdout, level: warn }
`;

export interface Registry {
  url: string;
  /** For an npm that finds and publishes `@warren/…` there. */
  env: NodeJS.ProcessEnv;
  stop(): Promise<void>;
}

export async function startRegistry(): Promise<Registry> {
  const directory = mkdtempSync(join(tmpdir(), 'warren-registry-'));
  const forgetDirectory = registerCleanup({ type: 'directory', path: directory });
  writeFileSync(join(directory, 'config.yaml'), SETTINGS);
  const url = `http://127.0.0.1:${await freePort()}`;
  const program = fileURLToPath(new URL('../../node_modules/.bin/verdaccio', import.meta.url));
  const child = spawn(process.execPath, [program, '--config', 'config.yaml', '--listen', url], {
    cwd: directory,
    stdio: 'ignore',
    detached: true,
  });
  const forgetProcess = registerCleanup({
    type: 'processes',
    group: child.pid as number,
    signal: 'SIGTERM',
  });
  await eventually(async () => (await fetch(`${url}/-/ping`)).ok, { timeout: 60_000 });
  return {
    url,
    env: await npmEnvironment(url, directory),
    stop: async () => {
      await end(child);
      forgetProcess();
      rmSync(directory, { recursive: true, force: true });
      forgetDirectory();
    },
  };
}

/** The user's own settings of npm, and this registry for one scope. */
async function npmEnvironment(url: string, directory: string): Promise<NodeJS.ProcessEnv> {
  const own = (await run('npm', ['config', 'get', 'userconfig'], {})).trim();
  const file = join(directory, '.npmrc');
  const settings = [
    existsSync(own) ? readFileSync(own, 'utf8') : '',
    `@warren:registry=${url}/`,
    `${url.replace('http:', '')}/:_authToken=of-nobody`,
  ];
  writeFileSync(file, `${settings.join('\n')}\n`);
  return { ...process.env, NPM_CONFIG_USERCONFIG: file };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}
