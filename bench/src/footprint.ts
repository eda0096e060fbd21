// What services cost without any request: start to ready, memory, and CPU at rest.
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { cpuOfProcess, readCpu } from './cpu.ts';
import { RunningSystem } from './running.ts';
import type { Stage } from './stage.ts';
import type { System } from './systems.ts';

export interface FootprintResult {
  system: string;
  title: string;
  round: number;
  services: Record<string, Footprint>;
  /** Shares of a core that broker and PostgreSQL use for all of these services at rest, with what they use by themselves. */
  broker: number;
  database: number;
  faults: string[];
}

export interface Footprint {
  /** ms from start to ready. */
  ready: number;
  /** Resident memory at rest, bytes. */
  rss: number;
  /** Share of a core at rest. */
  cpu: number;
}

/** ms until a service that has just started is at rest. */
const SETTLE_MS = 5_000;

export async function runFootprint(
  stage: Stage,
  system: System,
  { round, seconds }: { round: number; seconds: number },
): Promise<FootprintResult> {
  const { name, title } = system;
  const result: FootprintResult = {
    system: name,
    title,
    round,
    services: {},
    broker: 0,
    database: 0,
    faults: [],
  };
  let running: RunningSystem | undefined;
  try {
    running = await RunningSystem.start(stage, system);
    await wait(SETTLE_MS);
    const processes = [...running.processes];
    const servers = () => readCpu({ services: [], ...stage.pids });
    const before = { servers: servers(), own: processes.map(([, { pid }]) => cpuOfProcess(pid)) };
    const began = performance.now();
    await wait(seconds * 1_000);
    const share = (used: number) => used / ((performance.now() - began) / 1_000);
    const after = servers();
    result.broker = share(after.broker - before.servers.broker);
    result.database = share(after.database - before.servers.database);
    processes.forEach(([service, { pid, readyMs }], index) => {
      const cpu = share(cpuOfProcess(pid) - (before.own[index] as number));
      result.services[service] = { ready: readyMs, rss: residentBytes(pid), cpu };
    });
  } catch (error) {
    result.faults.push((error as Error).message);
  } finally {
    await running?.remove();
  }
  return result;
}

function residentBytes(pid: number): number {
  const [, kilobytes] = /^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1_024;
}
