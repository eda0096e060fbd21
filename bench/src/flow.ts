// One run of one system: `POST /orders` to *paid*, in a closed loop and in an open one, and the accounts afterwards.
import { setTimeout as wait } from 'node:timers/promises';
import { query } from '@warren/testkit';
import pg from 'pg';
import { faultsOf, readBooks } from './accounting.ts';
import { type CpuTimes, readCpu } from './cpu.ts';
import { LAST_FILLER } from './fill.ts';
import { type DriverOptions, type DriverReport, drive } from './load.ts';
import { RunningSystem } from './running.ts';
import type { Stage } from './stage.ts';
import { percentile } from './statistics.ts';
import type { ServiceName, System } from './systems.ts';

export interface FlowSettings {
  /** Orders in the closed loop. */
  orders: number;
  /** s that the closed loop may take; a slow system places fewer orders. */
  closedSeconds: number;
  openSeconds: number;
  warmUpOrders: number;
  clients: number;
}

/** CPU of an order, or of a sign-up, µs. */
export interface Cost {
  services: number;
  broker: number;
  database: number;
  total: number;
}

export interface FlowResult {
  system: string;
  round: number;
  /** What was lost or doubled; the run is worth nothing when there is any. */
  faults: string[];
  closed?: {
    orders: number;
    /** Orders paid in a second, from the first order sent to the last one paid. */
    paidPerSecond: number;
    cost: Cost;
    /** Cores that others on this machine used meanwhile. */
    others: number;
  };
  open?: {
    /** Orders a second. */
    rate: number;
    orders: number;
    /** ms from the time an order was due. */
    accepted: { p50: number; p99: number };
    paid: { p50: number; p99: number };
    cost: Cost;
    others: number;
  };
  /** ms from start to ready, by service. */
  ready: Record<string, number>;
}

/** ms that orders may wait for their payment once the load has ended. */
const DRAIN_MS = 120_000;
/** ms between two polls, so that they cost little. */
const POLL_MS = 250;
/** ms for what follows the last payment: acknowledgements, deletes, checkpoints of a client. */
const SETTLE_MS = 500;

/** @param rateOf orders a second of the open loop, by what the closed loop reached; 0: none */
export async function runFlow(
  stage: Stage,
  system: System,
  options: {
    round: number;
    settings: FlowSettings;
    rateOf(paidPerSecond: number): number;
    /** Of each service. Default: one. */
    replicas?: number;
    /** Fills the databases before anything is ordered. */
    fill?(running: RunningSystem): Promise<void>;
  },
): Promise<FlowResult> {
  const { round, settings, rateOf, replicas, fill } = options;
  const result: FlowResult = { system: system.name, round, faults: [], ready: {} };
  let running: RunningSystem | undefined;
  let flow: Flow | undefined;
  try {
    running = await RunningSystem.start(stage, system, { replicas });
    await fill?.(running);
    for (const [service, { readyMs }] of running.processes) result.ready[service] = Math.round(readyMs);
    flow = await Flow.begin(stage, running, settings.clients);
    const common = { urls: running.urls('order'), users: flow.users, clients: settings.clients };
    await flow.load({
      mode: 'closed',
      ...common,
      orders: settings.warmUpOrders,
      seconds: settings.closedSeconds / 2,
    });
    await flow.prepare();

    const closed = await flow.load({
      mode: 'closed',
      ...common,
      orders: settings.orders,
      seconds: settings.closedSeconds,
    });
    const paidPerSecond = (closed.report.sent.length / (closed.lastPaid - closed.report.began)) * 1_000;
    result.closed = {
      orders: closed.report.sent.length,
      paidPerSecond,
      cost: closed.cost,
      others: closed.others,
    };

    const rate = rateOf(paidPerSecond);
    if (rate > 0) {
      const open = await flow.load({ mode: 'open', ...common, rate, seconds: settings.openSeconds });
      const { sent } = open.report;
      const accepted = sent.map(({ acceptedMs }) => acceptedMs);
      const paid = sent.map(({ id, due }) => (open.paidAt.get(id) ?? Number.NaN) - due);
      result.open = {
        rate,
        orders: sent.length,
        accepted: { p50: percentile(accepted, 0.5), p99: percentile(accepted, 0.99) },
        paid: { p50: percentile(paid, 0.5), p99: percentile(paid, 0.99) },
        cost: open.cost,
        others: open.others,
      };
    }
    result.faults = await flow.close();
  } catch (error) {
    // The accounts show what is missing.
    result.faults.push((error as Error).message, ...((await flow?.close().catch(() => [])) ?? []));
  } finally {
    await flow?.disconnect();
    await running?.remove();
  }
  return result;
}

interface Loaded {
  report: DriverReport;
  /** When each order was paid, ms since the epoch. */
  paidAt: Map<string, number>;
  lastPaid: number;
  cost: Cost;
  others: number;
}

/** A running system, and the orders that it has accepted so far. Its connections stay open: opening one costs as much as an order. */
class Flow {
  readonly users: string[] = [];
  readonly #stage: Stage;
  readonly #running: RunningSystem;
  readonly #accepted: string[] = [];
  readonly #faults: string[] = [];
  readonly #connections = new Map<ServiceName, pg.Client>();
  #signUps = 0;

  constructor(stage: Stage, running: RunningSystem) {
    this.#stage = stage;
    this.#running = running;
  }

  /** The product knows its users: one for each client signs up, and has its welcome order paid. */
  static async begin(stage: Stage, running: RunningSystem, clients: number): Promise<Flow> {
    const flow = new Flow(stage, running);
    await flow.#connect();
    if (running.system.work !== 'product') {
      flow.users.push(...Array.from({ length: clients }, () => crypto.randomUUID()));
      return flow;
    }
    for (let index = 0; index < clients; index += 1)
      flow.users.push(await signUp(running.urls('user')[0] ?? '', index));
    flow.#signUps = clients;
    await flow.#untilPaid();
    return flow;
  }

  /** Statistics of tables that are no longer empty, and a checkpoint that is not the next measurement's. */
  async prepare(): Promise<void> {
    for (const { service } of this.#running.system.services)
      await query(this.#running.databaseUrl(service), 'vacuum analyze');
    await query(this.#stage.database.url, 'checkpoint');
  }

  async load(options: DriverOptions): Promise<Loaded> {
    const before = this.#readCpu();
    const since = performance.now();
    const report = await drive(options);
    this.#accepted.push(...report.sent.map(({ id }) => id));
    for (const [error, count] of Object.entries(report.errors))
      this.#faults.push(`${count} orders were refused: ${error}`);
    await this.#untilPaid();
    const after = this.#readCpu();
    const seconds = (performance.now() - since) / 1_000;
    const paidAt = await this.#paidAt();
    const times = report.sent.map(({ id }) => paidAt.get(id) ?? Number.NaN);
    return { report, paidAt, lastPaid: Math.max(...times), ...costOf(before, after, report, seconds) };
  }

  /** Stops the services. @returns what is wrong with their accounts */
  async close(): Promise<string[]> {
    await this.#running.stop();
    const books = await readBooks(this.#running);
    return [...this.#faults, ...faultsOf(books, { accepted: this.#accepted, signUps: this.#signUps })];
  }

  async disconnect(): Promise<void> {
    await Promise.all([...this.#connections.values()].map((client) => client.end()));
  }

  #readCpu(): CpuTimes {
    const { broker, database } = this.#stage.pids;
    const services = [...this.#running.processes.values()].map(({ pid }) => pid);
    return readCpu({ services, broker, database });
  }

  /** Waits until every accepted order is paid and no work is left. @throws after `DRAIN_MS` */
  async #untilPaid(): Promise<void> {
    const wanted = this.#accepted.length + this.#signUps;
    const deadline = performance.now() + DRAIN_MS;
    while (!(await this.#isDone(wanted))) {
      if (performance.now() > deadline)
        throw new Error(`not all of ${wanted} orders were paid and done within ${DRAIN_MS / 1_000} s`);
      await wait(POLL_MS);
    }
    await wait(SETTLE_MS);
  }

  async #isDone(wanted: number): Promise<boolean> {
    const count = async (service: ServiceName, sql: string) =>
      (await this.#connection(service).query<{ count: number }>(sql)).rows[0]?.count ?? 0;
    if (
      (await count(
        'order',
        `select count(*)::int as count from orders where status = 'paid' and id > '${LAST_FILLER}'`,
      )) < wanted
    )
      return false;
    for (const { service, sql } of this.#running.system.leftovers)
      if ((await count(service, sql)) > 0) return false;
    return true;
  }

  async #connect(): Promise<void> {
    for (const { service } of this.#running.system.services) {
      const client = new pg.Client({ connectionString: this.#running.databaseUrl(service) });
      client.on('error', () => {});
      this.#connections.set(service, client);
      await client.connect();
    }
  }

  #connection(service: ServiceName): pg.Client {
    return this.#connections.get(service) as pg.Client;
  }

  /** The commit time of the last change to each order's row. */
  async #paidAt(): Promise<Map<string, number>> {
    const { rows } = await this.#connection('order').query<{ id: string; at: number }>(
      `select id, extract(epoch from pg_xact_commit_timestamp(xmin))::float8 * 1000 as at
         from orders where status = 'paid' and id > '${LAST_FILLER}'`,
    );
    return new Map(rows.map(({ id, at }) => [id, at]));
  }
}

/** @param seconds between the two readings */
export function costOf(
  before: CpuTimes,
  after: CpuTimes,
  report: DriverReport,
  seconds: number,
): { cost: Cost; others: number } {
  const used = (group: keyof CpuTimes) => after[group] - before[group];
  const ours = used('services') + used('broker') + used('database');
  const each = (cpu: number) => (cpu * 1_000_000) / report.sent.length;
  const foreign = used('machine') - ours - used('benchmark') - report.cpuSeconds;
  return {
    cost: {
      services: each(used('services')),
      broker: each(used('broker')),
      database: each(used('database')),
      total: each(ours),
    },
    others: Math.max(0, foreign / seconds),
  };
}

async function signUp(url: string, index: number): Promise<string> {
  const response = await fetch(`${url}/users`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name: `Client ${index}`, email: `client-${index}@example.com` }),
  });
  if (response.status !== 201) throw new Error(`a sign-up was answered ${response.status}`);
  return ((await response.json()) as { id: string }).id;
}
