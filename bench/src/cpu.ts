// CPU time by the operating system's own books: /proc of Linux.
import { readdirSync, readFileSync } from 'node:fs';

/** Clock ticks a second in /proc, on every Linux that Node.js runs on (USER_HZ). */
const TICKS = 100;

/** Seconds of CPU so far. */
export interface CpuTimes {
  services: number;
  broker: number;
  database: number;
  /** Of the processes that make the load and measure it. */
  benchmark: number;
  /** Of the whole machine, all programs together. */
  machine: number;
}

/** Roots of process trees. */
export interface CpuGroups {
  services: readonly number[];
  broker: number;
  database: number;
}

export function readCpu(groups: CpuGroups): CpuTimes {
  const processes = readProcesses();
  const sum = (roots: readonly number[]) =>
    roots.reduce((total, root) => total + ticksOfTree(root, processes), 0) / TICKS;
  return {
    services: sum(groups.services),
    broker: sum([groups.broker]),
    database: sum([groups.database]),
    benchmark: ownSeconds(),
    machine: machineSeconds(),
  };
}

/** Seconds of CPU so far of one process. */
export const cpuOfProcess = (pid: number): number => (readProcess(pid)?.ticks ?? 0) / TICKS;

interface ProcessTimes {
  parent: number;
  /** Its own, and that of children that have ended and were waited for. */
  ticks: number;
}

function readProcesses(): Map<number, ProcessTimes> {
  const processes = new Map<number, ProcessTimes>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const times = readProcess(Number(name));
    if (times) processes.set(Number(name), times);
  }
  return processes;
}

function readProcess(pid: number): ProcessTimes | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // pid (name, which may hold anything) state parent …; utime, stime, cutime and cstime are the fields 14 to 17.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return {
    parent: Number(fields[1]),
    ticks: fields.slice(11, 15).reduce((sum, each) => sum + Number(each), 0),
  };
}

/** Of a process, everything that descends from it, and what of that has ended. */
function ticksOfTree(root: number, processes: ReadonlyMap<number, ProcessTimes>): number {
  let total = processes.get(root)?.ticks ?? 0;
  for (const [pid, { parent }] of processes) if (parent === root) total += ticksOfTree(pid, processes);
  return total;
}

/** Of this process alone; that of a driver comes from the driver. */
function ownSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000_000;
}

/** All states but idle and waiting for the disk. */
function machineSeconds(): number {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n', 1);
  const [user, nice, system, , , interrupts, softInterrupts] = line.trim().split(/\s+/).slice(1).map(Number);
  return (
    [user, nice, system, interrupts, softInterrupts].reduce((sum: number, each) => sum + (each ?? 0), 0) /
    TICKS
  );
}
