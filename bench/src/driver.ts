// The load, as a process of its own, so that its CPU is counted apart:  node src/driver.ts '{"mode":"closed",…}'
// Prints one line of JSON: what was answered, and when.
import { Agent } from 'undici';
import type { DriverOptions, DriverReport, Sent } from './load.ts';

const options = JSON.parse(process.argv[2] ?? '') as DriverOptions;
const { urls, users } = options;
/** In the open loop the number of connections must never hold a request back. */
const OPEN_CONNECTIONS = 512;
const clients = options.mode === 'closed' ? options.clients : OPEN_CONNECTIONS;
const agent = new Agent({ connections: clients, pipelining: 1, keepAliveTimeout: 60_000 });
const sent: Sent[] = [];
const errors = new Map<string, number>();
let lastAnswer = 0;

/** ms since the epoch, finer than Date.now() and of the same clock throughout. */
const now = () => performance.timeOrigin + performance.now();

/** @param due when it should be sent, ms since the epoch: latency counts from then */
async function order(index: number, due: number): Promise<void> {
  const body = {
    userId: users[index % users.length],
    productName: `Thing ${index}`,
    price: 1 + (index % 500),
  };
  try {
    const response = await agent.request({
      origin: urls[index % urls.length] as string,
      path: '/orders',
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    const text = await response.body.text();
    lastAnswer = now();
    if (response.statusCode !== 201) return count(`${response.statusCode} ${text.slice(0, 200)}`);
    sent.push({ id: (JSON.parse(text) as { orderId: string }).orderId, due, acceptedMs: lastAnswer - due });
  } catch (error) {
    count((error as Error).message);
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
    while (next < orders && now() < deadline) await order(next++, now());
  };
  await Promise.all(Array.from({ length: clients }, client));
}

/** Orders are sent at their time, whether or not earlier ones are answered. */
async function openLoop(rate: number, seconds: number): Promise<void> {
  const begin = now();
  const running: Promise<void>[] = [];
  for (let index = 0; index < rate * seconds; index += 1) {
    const due = begin + (index * 1_000) / rate;
    while (now() < due) await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - now())));
    running.push(order(index, due));
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
  cpuSeconds: (user + system) / 1_000_000,
};
process.stdout.write(`${JSON.stringify(report)}\n`);
