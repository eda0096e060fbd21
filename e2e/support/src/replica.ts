// One replica of a service: a process that can be ended in any way and started again at the same address.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isTaken, type RunningProcess, startProcess } from '@warren/testkit';

export const checkout = fileURLToPath(new URL('../../..', import.meta.url));

/** The services there are; the gateway last, because it is told where the others are. */
export const everyService = ['user', 'session', 'order', 'payment', 'email', 'gateway'] as const;

export type Name = (typeof everyService)[number];

/** Whether a service has a database. */
export const isStateful = (service: Name): boolean =>
  existsSync(join(checkout, 'services', service, 'migrations'));

export interface Replica {
  service: Name;
  url: string;
  adminUrl: string;
  /** The process of now, or the last one. */
  process: RunningProcess;
  /** Starts its process, and waits for nothing. */
  start(env?: Record<string, string>): RunningProcess;
  /** Waits for /readyz to answer 200. */
  ready(options?: { timeout?: number }): Promise<void>;
  /** Ends its process and waits for that; its exit code, null when the signal ended it. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
  running: boolean;
  /** Whether it ever ran. */
  started: boolean;
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into it as it likes
  readyz(): Promise<{ status: number; body: any }>;
  /** A sample of /metrics, or the sum of those that have all of `labels`; 0 when there is none. */
  metric(name: string, labels?: Record<string, string>): Promise<number>;
}

export async function createReplica(service: Name, env: () => Record<string, string>): Promise<Replica> {
  const [port, adminPort] = [await steadyPort(), await steadyPort()];
  const adminUrl = `http://127.0.0.1:${adminPort}`;
  let current: RunningProcess | undefined;
  const process = () => {
    if (current === undefined) throw new Error(`this replica of ${service} was never started`);
    return current;
  };
  const ask = (path: string) => fetch(`${adminUrl}${path}`, { signal: AbortSignal.timeout(5_000) });

  const running = () => current !== undefined && current.exitCode === undefined;
  return {
    service,
    url: `http://127.0.0.1:${port}`,
    adminUrl,
    get process() {
      return process();
    },
    get running() {
      return running();
    },
    get started() {
      return current !== undefined;
    },
    start(more = {}) {
      if (running()) throw new Error(`this replica of ${service} runs already`);
      current = startProcess({
        cwd: join(checkout, 'services', service),
        env: { PORT: String(port), ADMIN_PORT: String(adminPort), ...env(), ...more },
      });
      return current;
    },
    ready: (options) => process().ready(options),
    end: (signal) => process().kill(signal),
    async readyz() {
      const response = await ask('/readyz');
      return { status: response.status, body: await response.json() };
    },
    async metric(name, labels = {}) {
      const lines = (await (await ask('/metrics')).text()).split('\n');
      const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
      return lines
        .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
        .filter((line) => wanted.every((pair) => line.includes(pair)))
        .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
    },
  };
}

let last = 15_000 + (process.pid % 200) * 80;

/**
 * A free port below those that systems give to outgoing connections, so that nobody has it when its process comes back.
 */
async function steadyPort(): Promise<number> {
  for (let tries = 0; tries < 200; tries += 1) {
    last = last >= 31_999 ? 15_000 : last + 1;
    const port = last;
    if (!(await isTaken(port))) return port;
  }
  throw new Error('no port from 15000 to 32000 is free');
}
