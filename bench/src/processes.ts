// A service as a process: its output goes to a file, so that no program reads it while something is measured.
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { registerCleanup } from '@warren/testkit';
import type { Program } from './systems.ts';

export interface Process {
  pid: number;
  /** From its start to the first answer that shows it, ms. */
  readyMs: number;
  /** SIGTERM, and SIGKILL to what has not ended `STOP_MS` later. */
  stop(): Promise<void>;
}

const START_MS = 60_000;
/** More than a service's SHUTDOWN_GRACE. */
const STOP_MS = 30_000;

/** Resolves when it is ready. @throws with the end of its output, when it is not in time */
export async function launch(
  program: Program,
  options: { env: Record<string, string>; log: string; readyUrl: string },
): Promise<Process> {
  const { env, log, readyUrl } = options;
  const output = openSync(log, 'w');
  const began = performance.now();
  const [command, ...parameters] = program.command;
  const child = spawn(command, parameters, {
    cwd: program.cwd,
    env: {
      PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
      HOME: process.env.HOME,
      ...(process.env.PROFILE && {
        NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${resolve(process.env.PROFILE)}`,
      }),
      ...env,
    },
    detached: true,
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  });
  const pid = child.pid ?? 0;
  const forget = registerCleanup({ type: 'processes', group: pid, signal: 'SIGKILL' });

  const stop = async () => {
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    await ended;
    clearTimeout(late);
    forget();
  };

  while (!(await answers(readyUrl, program.readyPath !== undefined))) {
    const dead = child.exitCode !== null || child.signalCode !== null;
    if (dead || performance.now() - began > START_MS) {
      await stop();
      throw new Error(`${program.service} in ${program.cwd} did not get ready: ${lastLines(log)}`);
    }
    await wait(10);
  }
  return { pid, readyMs: performance.now() - began, stop };
}

/** @param strict nothing but 2xx will do */
async function answers(url: string, strict: boolean): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await response.arrayBuffer();
    return response.ok || !strict;
  } catch {
    return false;
  }
}

const lastLines = (log: string): string => readFileSync(log, 'utf8').trim().split('\n').slice(-5).join(' | ');
