// The service under check as a process that the kit may kill, stop and start.
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as wait } from 'node:timers/promises';
import { registerCleanup } from '../cleanup.ts';
import { endGroup, groupLives } from '../process-group.ts';
import { CheckError, type StartOptions } from './options.ts';

export interface ServiceProcess {
  /** Whether the kit can start it again; otherwise a supervisor has to. */
  restarts: boolean;
  start(): Promise<void>;
  kill(): Promise<void>;
  /** Sends SIGTERM. @returns ms until its end; undefined if it had to be killed after `grace` ms */
  stop(grace: number): Promise<number | undefined>;
  /** Whether its last process has ended. */
  ended(): boolean;
  /** Its last output, for errors. */
  output(): string;
}

const OUTPUT_LINES = 5;

/** A command of the shell, in a process group of its own: signals go to the whole group. */
export function startedBy(options: string | StartOptions): ServiceProcess {
  const { command, cwd, env } = typeof options === 'string' ? { command: options } : options;
  let group: number | undefined;
  let forget = () => {};
  let output = '';
  const collect = (chunk: string) => {
    output = (output + chunk).slice(-4_000);
  };
  return {
    restarts: true,
    async start() {
      const child = spawn('sh', ['-c', command], {
        cwd,
        env: { ...process.env, ...env },
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', collect);
      group = await pidOf(child, command);
      forget = registerCleanup({ type: 'processes', group, signal: 'SIGKILL' });
    },
    async kill() {
      if (group !== undefined) await endGroup(group, { signal: 'SIGKILL' });
      forget();
    },
    async stop(grace) {
      const ended = group === undefined ? 0 : await terminate(group, grace);
      forget();
      return ended;
    },
    ended: () => group !== undefined && !groupLives(group),
    output: () => output.trim().split('\n').slice(-OUTPUT_LINES).join(' | '),
  };
}

const pidOf = (child: ChildProcess, command: string) =>
  new Promise<number>((resolve, reject) => {
    child.once('error', (cause) =>
      reject(new CheckError(`cannot run ${command}: ${cause.message}`, { cause })),
    );
    child.once('spawn', () => resolve(child.pid as number));
  });

async function terminate(group: number, grace: number): Promise<number | undefined> {
  const started = performance.now();
  if (groupLives(group)) process.kill(-group, 'SIGTERM');
  while (groupLives(group)) {
    if (performance.now() - started > grace) {
      await endGroup(group, { signal: 'SIGKILL' });
      return undefined;
    }
    await wait(20);
  }
  return performance.now() - started;
}

/** A process that a supervisor restarts: it can be ended once, because its successor has another pid. */
export function runningAs(pid: number): ServiceProcess {
  const lives = () => {
    try {
      return process.kill(pid, 0);
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'EPERM';
    }
  };
  if (!lives()) throw new CheckError(`no process has the pid ${pid}: start the service, or use --start`);
  const end = async (signal: NodeJS.Signals, limit: number): Promise<number | undefined> => {
    const started = performance.now();
    process.kill(pid, signal);
    while (lives()) {
      if (performance.now() - started > limit) return undefined;
      await wait(20);
    }
    return performance.now() - started;
  };
  return {
    restarts: false,
    start: async () => {},
    kill: async () => void (await end('SIGKILL', 10_000)),
    stop: async (grace) => {
      const ended = await end('SIGTERM', grace);
      if (ended === undefined) await end('SIGKILL', 10_000);
      return ended;
    },
    ended: () => !lives(),
    output: () => '',
  };
}
