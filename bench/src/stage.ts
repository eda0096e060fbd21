// The broker and the PostgreSQL that all systems of a run share. They are started for it, and end with it.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import {
  eventually,
  isTaken,
  managementOf,
  type PrivateBroker,
  type PrivateDatabaseServer,
  query,
  startPrivateBroker,
  startPrivateDatabase,
} from '@warren/testkit';

/** Held while a benchmark runs: two at once would measure each other. */
const LOCK_PORT = 18_100;
/** Of the services that are measured, one after another: each takes two, for HTTP and for its admin endpoints. */
const SERVICE_PORTS = Array.from({ length: 20 }, (_, index) => LOCK_PORT + 1 + index);

export interface Stage {
  broker: PrivateBroker;
  management: ReturnType<typeof managementOf>;
  database: PrivateDatabaseServer;
  /** Roots of the process trees whose CPU is counted. */
  pids: { broker: number; database: number };
  /** The ports of the nth service of a system. */
  portsOf(index: number): { port: number; adminPort: number };
  close(): Promise<void>;
}

/** Why a benchmark cannot begin, in one sentence. */
export class Refusal extends Error {}

/** @throws {Refusal} when this is not Linux, something listens on a port of the benchmark, or the broker runs in a container */
export async function openStage(): Promise<Stage> {
  if (process.platform !== 'linux') throw new Refusal('The benchmark reads CPU from /proc: run it on Linux.');
  await requirePorts([LOCK_PORT, ...SERVICE_PORTS]);
  const unlock = await lock();
  const closing: (() => unknown)[] = [unlock];
  const close = async () => {
    for (const step of closing.splice(0).reverse()) await step();
  };
  try {
    const broker = await startPrivateBroker({ env: {}, log: () => {} });
    closing.push(() => broker.stop());
    const database = await startPrivateDatabase();
    closing.push(() => database.stop());
    await keepCommitTimes(database);
    const management = managementOf(broker);
    return {
      broker,
      management,
      database,
      pids: { broker: await brokerPid(management), database: await databasePid(database) },
      portsOf: (index) => ({
        port: SERVICE_PORTS[2 * index] as number,
        adminPort: SERVICE_PORTS[2 * index + 1] as number,
      }),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** @throws {Refusal} */
export async function requirePorts(ports: number[]): Promise<void> {
  for (const port of ports) {
    if (await isTaken(port))
      throw new Refusal(
        `Something listens on port ${port}, which the benchmark needs: stop it, or wait until the other benchmark ends.`,
      );
  }
}

function lock(): Promise<() => void> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(LOCK_PORT, '127.0.0.1', () => resolve(() => server.close()));
  });
}

/**
 * When an order was paid is read from PostgreSQL's record of commit times after a run: nothing polls meanwhile, and no system has
 * to write down a time. It costs every system the same few bytes a transaction.
 */
export async function keepCommitTimes(database: PrivateDatabaseServer): Promise<void> {
  await query(database.url, 'alter system set track_commit_timestamp = on');
  await database.halt();
  await database.start();
}

async function brokerPid(management: Stage['management']): Promise<number> {
  const pid = await eventually(async () => {
    // A node writes its process id into its statistics some seconds after it has started.
    const nodes = await management.request<{ os_pid?: string }[]>('GET', 'nodes');
    return Number(nodes?.[0]?.os_pid ?? Number.NaN) || false;
  });
  if (!programOf(pid).startsWith('beam'))
    throw new Refusal(
      'The benchmark reads the CPU of the broker from its process: install rabbitmq-server on this machine.',
    );
  return pid;
}

async function databasePid(database: PrivateDatabaseServer): Promise<number> {
  const [row] = await query<{ file: string }>(database.url, "select pg_read_file('postmaster.pid') as file");
  return Number(row?.file.split('\n', 1)[0]);
}

function programOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8');
  } catch {
    return '';
  }
}
