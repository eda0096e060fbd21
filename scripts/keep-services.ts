// Starts a broker and a PostgreSQL that keep running for the tests of this checkout:  node scripts/keep-services.ts [--stop]
// If they are running, it prints which. `npm test` in any directory and `make test` use them.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  isRunning,
  KEPT_SERVICES,
  type KeptFile,
  startBroker,
  startDatabase,
} from '../packages/testkit/src/index.ts';
import { root } from './tree.ts';

/** Installing RabbitMQ first takes minutes. */
const START_TIMEOUT_MS = 300_000;
const STOP_TIMEOUT_MS = 30_000;

const file = join(root, KEPT_SERVICES);
const log = join(root, '.tools', 'services.log');

if (process.argv.includes('--keep')) await keepRunning();
else if (process.argv.includes('--stop')) await stop();
else await start();

async function start(): Promise<void> {
  if (!read()) {
    mkdirSync(join(root, '.tools'), { recursive: true });
    const output = openSync(log, 'w');
    const child = spawn(process.execPath, [fileURLToPath(import.meta.url), '--keep'], {
      cwd: root,
      detached: true,
      stdio: ['ignore', output, output],
    });
    child.unref();
    const deadline = Date.now() + START_TIMEOUT_MS;
    while (!read()) {
      if (child.exitCode !== null || Date.now() > deadline) {
        console.error(`broker and database did not start:\n${readFileSync(log, 'utf8')}`);
        process.exit(1);
      }
      await wait(100);
    }
  }
  console.log(`${readFileSync(log, 'utf8').trim()}\nBoth keep running. Stop them with make services STOP=1.`);
}

async function stop(): Promise<void> {
  const kept = read();
  if (!kept) {
    console.log('No broker and no database are running for this checkout.');
    return;
  }
  process.kill(kept.pid, 'SIGTERM');
  const deadline = Date.now() + STOP_TIMEOUT_MS;
  while (isRunning(kept.pid)) {
    if (Date.now() > deadline)
      throw new Error(`process ${kept.pid} did not exit within ${STOP_TIMEOUT_MS / 1_000} s`);
    await wait(50);
  }
  console.log('Stopped broker and database.');
}

/** Owns the servers: however this process ends, the testkit's cleanup process removes them. */
async function keepRunning(): Promise<void> {
  const broker = await startBroker();
  const database = await startDatabase();
  const kept: KeptFile = {
    pid: process.pid,
    AMQP_URL: broker.url,
    AMQP_MANAGEMENT_URL: broker.managementUrl,
    DATABASE_URL: database.url,
  };
  writeFileSync(file, JSON.stringify(kept), { mode: 0o600 });
  const timer = setInterval(() => {}, 2 ** 30);
  await new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, resolve);
  });
  clearInterval(timer);
  rmSync(file, { force: true });
  await Promise.all([broker.stop(), database.stop()]);
}

/** @returns the running servers; removes the file that a crash has left */
function read(): KeptFile | undefined {
  if (!existsSync(file)) return undefined;
  const kept: KeptFile = JSON.parse(readFileSync(file, 'utf8'));
  if (isRunning(kept.pid)) return kept;
  rmSync(file);
  return undefined;
}
