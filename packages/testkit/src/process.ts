import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { registerCleanup } from './cleanup.ts';
import { endGroup, groupLives } from './process-group.ts';

export interface StartProcess {
  /** Directory of the service. */
  cwd: string;
  /** A file to run with Node in place of what `npm start` runs there. */
  entry?: string;
  /** Its whole environment, besides PATH, HOME and the like: nothing of this process's settings leaks into it. */
  env?: Record<string, string | number | undefined>;
  /** Flags for Node, e.g. `--expose-gc`; with `entry`. */
  nodeFlags?: string[];
  /** Called at every line of its standard output and error. */
  onLine?: (line: string) => void;
}

/** A service as a process of its own, as it runs in production. */
export interface RunningProcess {
  pid: number;
  /** Lines of standard output and error so far. */
  output: string[];
  /** Lines of its output that are JSON (the log), parsed. */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into it as it likes
  logs: any[];
  /** Set once it has ended; null when a signal ended it. */
  exitCode: number | null | undefined;
  /**
   * Waits until `/readyz` on its admin port returns 200.
   *
   * @param options timeout in ms, default 30,000
   * @throws with its last output, if it ends or is not ready in time
   */
  ready(options?: { timeout?: number }): Promise<void>;
  /** Sends the signal (default SIGTERM) and waits for its end; returns the exit code, null when a signal ended it. */
  kill(signal?: NodeJS.Signals): Promise<number | null>;
  /** Sends a signal and waits for nothing. */
  signal(signal: NodeJS.Signals): void;
  /** Resolves with the exit code when it ends, by itself or not. */
  ended: Promise<number | null>;
}

function startScript(cwd: string): string {
  const { scripts } = JSON.parse(readFileSync(join(cwd, 'package.json'), 'utf8'));
  if (typeof scripts?.start !== 'string')
    throw new Error(`${cwd}/package.json has no start script: add one, or give \`entry\``);
  return scripts.start;
}

/** Names of this process's environment that every program needs. */
const inherited = /^(PATH|HOME|TMPDIR|TEMP|TMP|TZ|SystemRoot|NODE_EXTRA_CA_CERTS|NODE_V8_COVERAGE)$/;

/**
 * Starts a service. It ends with this process, however that ends.
 *
 * @example
 * const user = startProcess({ cwd: 'services/user', env: { PORT: 4001, ADMIN_PORT: 4002, AMQP_URL: broker.url('user') } });
 * await user.ready();
 * await user.kill('SIGKILL');
 */
export function startProcess(options: StartProcess): RunningProcess {
  const { cwd, entry, nodeFlags = [], onLine } = options;
  const own = Object.entries(options.env ?? {}).filter(([, value]) => value !== undefined);
  const env = Object.fromEntries([
    ...Object.entries(process.env).filter(([name]) => inherited.test(name)),
    ...own.map(([name, value]) => [name, String(value)]),
  ]) as NodeJS.ProcessEnv;
  // The script's `exec` makes the shell Node itself, so that signals and the pid are its own.
  env.PATH = [dirname(process.execPath), env.PATH].join(delimiter);
  const [command, ...args] =
    entry === undefined ? ['sh', '-c', startScript(cwd)] : [process.execPath, ...nodeFlags, entry];
  const child = spawn(command as string, args, {
    cwd,
    env,
    // Not of our process group: Ctrl-C reaches it by us, in our order.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const group = child.pid;
  const forget = group ? registerCleanup({ type: 'processes', group, signal: 'SIGTERM' }) : () => {};
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    let rest = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() as string;
      for (const line of lines) {
        output.push(line);
        onLine?.(line);
      }
    });
    stream.on('end', () => {
      if (rest) output.push(rest);
    });
  }

  const ended = new Promise<number | null>((resolve) => {
    child.once('error', (error) => {
      output.push(error.message);
      running.exitCode = null;
      resolve(null);
    });
    child.once('close', (code) => {
      running.exitCode = code;
      if (!group || !groupLives(group)) forget();
      resolve(code);
    });
  });

  const running: RunningProcess = {
    pid: group ?? 0,
    output,
    exitCode: undefined,
    ended,
    get logs() {
      return output.flatMap((line) => {
        try {
          return line.startsWith('{') ? [JSON.parse(line)] : [];
        } catch {
          return [];
        }
      });
    },
    async ready({ timeout = 30_000 } = {}) {
      const port = options.env?.ADMIN_PORT;
      if (port === undefined) throw new Error('ready() needs ADMIN_PORT in the environment of the process');
      const deadline = Date.now() + timeout;
      let last = 'no response';
      for (;;) {
        if (running.exitCode !== undefined)
          throw new Error(`${cwd} ended before it was ready: ${words(output)}`);
        try {
          const response = await fetch(`http://127.0.0.1:${port}/readyz`, {
            signal: AbortSignal.timeout(2_000),
          });
          last = `${response.status} ${await response.text()}`;
          if (response.ok) return;
        } catch {}
        if (Date.now() > deadline) {
          throw new Error(`${cwd} was not ready within ${timeout} ms (/readyz: ${last}): ${words(output)}`);
        }
        await wait(25);
      }
    },
    async kill(signal = 'SIGTERM') {
      if (running.exitCode === undefined) child.kill(signal);
      const code = await ended;
      if (group) await endGroup(group, { signal: 'SIGKILL' });
      forget();
      return code;
    },
    signal: (signal) => void child.kill(signal),
  };
  return running;
}

const words = (output: string[]): string => output.slice(-5).map(wordsOf).join(' | ') || '(it said nothing)';

/** Of a line of the log the message, and the error where there is one. */
function wordsOf(line: string): string {
  try {
    const { msg, err } = JSON.parse(line) as { msg?: string; err?: { message?: string } };
    return [msg, err?.message].filter(Boolean).join(': ') || line;
  } catch {
    return line;
  }
}
