// The load, as a process of its own, so that its CPU is counted apart:  node src/driver.ts '{"mode":"closed",…}'
// Prints one line of JSON: what was answered, and when.
import { setTimeout as pause } from 'node:timers/promises';
import { Agent } from 'undici';
import type { DriverOptions, DriverReport, Sent } from './load.ts';

const options = JSON.parse(process.argv[2] ?? '') as DriverOptions;
const { urls } = options;
const attempts = options.mode === 'sign-ups' ? options.attempts : 1;
/** ms between two attempts. */
const REPEAT_MS = 250;
/** In the open loop the number of connections must never hold a request back. */
const OPEN_CONNECTIONS = 512;
const clients = options.mode === 'closed' ? options.clients : OPEN_CONNECTIONS;
const agent = new Agent({ connections: clients, pipelining: 1, keepAliveTimeout: 60_000 });
const sent: Sent[] = [];
const errors = new Map<string, number>();
let lastAnswer = 0;
let repeats = 0;

/** ms since the epoch, finer than Date.now() and of the same clock throughout. */
const now = () => performance.timeOrigin + performance.now();

function requestOf(index: number): { path: string; headers: Record<string, string>; body: object } {
  const headers = { 'content-type': 'application/json' };
  if (options.mode === 'sign-ups') {
    const name = `${options.prefix}-${index}`;
    const body = { name, email: `${name}@example.com` };
    return { path: '/users', headers: { ...headers, 'idempotency-key': name }, body };
  }
  const { users } = options;
  const userId = users[index % users.length];
  return {
    path: '/orders',
    headers,
    body: { userId, productName: `Thing ${index}`, price: 1 + (index % 500) },
  };
}

/** @param due when it should be sent, ms since the epoch: latency counts from then */
async function send(index: number, due: number): Promise<void> {
  const { path, headers, body } = requestOf(index);
  for (let attempt = 1; ; attempt += 1) {
    let error: string;
    try {
      const origin = urls[index % urls.length] as string;
      const response = await agent.request({
        origin,
        path,
        method: 'POST',
        headers,
        body: JSON.stringify(body),
      });
      const text = await response.body.text();
      lastAnswer = now();
      if (response.statusCode === 201) {
        const { id, orderId } = JSON.parse(text) as { id?: string; orderId?: string };
        sent.push({ id: orderId ?? id ?? '', due, acceptedMs: lastAnswer - due });
        return;
      }
      error = `${response.statusCode} ${text.slice(0, 200)}`;
    } catch (thrown) {
      error = (thrown as Error).message;
    }
    if (attempt === attempts) return count(error);
    repeats += 1;
    await pause(REPEAT_MS);
  }
}

function count(error: string): void {
  errors.set(error, (errors.get(error) ?? 0) + 1);
}

/** Each client sends its next order when it has the answer to the last. */
async function closedLoop(orders: number, seconds: number): Promise<void> {
  const deadline = now() + seconds * 1_000;
  let next = 0;
  const client = async () => {
    while (next < orders && now() < deadline) await send(next++, now());
  };
  await Promise.all(Array.from({ length: clients }, client));
}

/** Requests are sent at their time, whether or not earlier ones are answered. */
async function openLoop(rate: number, seconds: number): Promise<void> {
  const begin = now();
  const running: Promise<void>[] = [];
  for (let index = 0; index < rate * seconds; index += 1) {
    const due = begin + (index * 1_000) / rate;
    while (now() < due) await pause(Math.max(0, due - now()));
    running.push(send(index, due));
  }
  await Promise.all(running);
}

const began = now();
if (options.mode === 'closed') await closedLoop(options.orders, options.seconds);
else await openLoop(options.rate, options.seconds);
await agent.close();

const { user, system } = process.cpuUsage();
const report: DriverReport = {
  began,
  ended: lastAnswer,
  sent,
  errors: Object.fromEntries(errors),
  repeats,
  cpuSeconds: (user + system) / 1_000_000,
};
process.stdout.write(`${JSON.stringify(report)}\n`);
