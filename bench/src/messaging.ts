// Messages alone: publishing and consuming, with and without a database, against amqplib; a consumer that saves a row, against NestJS.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { orderCreated } from '@warren/contracts';
import { query, registerCleanup } from '@warren/testkit';
import { connect, type Options } from 'amqplib';
import pg from 'pg';
import type { Usage } from '../peers/raw/usage.ts';
import { queueFaults } from './accounting.ts';
import { readCpu } from './cpu.ts';
import { RunningSystem } from './running.ts';
import type { Stage } from './stage.ts';
import { BARE, type System } from './systems.ts';

export interface MessagingResult {
  /**
   * `publish`: from the outbox, or memory, to the broker's confirm. `consume`: from the queue to a handler that does nothing.
   * `save`: from the queue to a row.
   */
  kind: 'publish' | 'consume' | 'save';
  system: string;
  title: string;
  round: number;
  messages: number;
  perSecond: number;
  /** CPU of the program, the broker and PostgreSQL for a message, µs. */
  cost?: number;
  faults: string[];
}

/** A queue of the benchmark's own, without a consumer. */
const SINK = 'bench.sink';
/** ms between two polls of the sink; a poll is one frame each way. */
const SINK_POLL_MS = 20;
const POLL_MS = 250;
/** ms that one measurement may take. */
const limitMs = (count: number): number => 60_000 + 5 * count;

const ORDER = { orderId: '$ID', userId: '$ID', productName: 'Thing', price: 10, currency: 'EUR' };
/** `order.created` as Warren publishes it; $ID stands for a UUID of each message's own. */
const EVENT = JSON.stringify({
  specversion: '1.0',
  id: '$ID',
  source: '/order',
  type: orderCreated.type,
  // A consumer refuses what is older than its inbox remembers.
  time: new Date().toISOString(),
  datacontenttype: 'application/json',
  dataschema: orderCreated.dataschema,
  subject: '$ID',
  correlationid: '$ID',
  data: ORDER,
});
/** The same for NestJS. */
const PACKET = JSON.stringify({ pattern: orderCreated.type, data: ORDER });

const FILL_OUTBOX = `
  insert into warren.outbox (event_id, type, routing_key, aggregate, body, correlation_id)
  select id, $2, $3, id::text, replace($4, '$ID', id::text), id::text
    from (select gen_random_uuid() as id from generate_series(1, $1::int)) ids`;

type Measured = Pick<MessagingResult, 'perSecond' | 'cost' | 'messages'>;

const withFaults = (measured: Measured, faults: string[]) => ({ ...measured, faults });

const programs = (of: string, extension: string) => {
  const path = (name: string) => fileURLToPath(new URL(`../${of}/${name}.${extension}`, import.meta.url));
  return { publish: path('publish'), consume: path('consume') };
};
const RAW = programs('dist/peers/raw', 'js');
const PARTS = programs('parts', 'ts');

/** What a connection costs by itself: amqplib, or the chassis without its database; or the outbox of a system. */
export async function runPublishing(
  stage: Stage,
  system: System,
  options: { round: number; messages: number },
): Promise<MessagingResult> {
  const { messages: count } = options;
  return measure(stage, system, { ...options, kind: 'publish' }, async (running) => {
    await makeSink(running.brokerUrl());
    if (system.services.length > 0) {
      await drainOutbox(stage, running, Math.ceil(count / 10));
      return drainOutbox(stage, running, count);
    }
    const { routingKey: key, type } = orderCreated;
    const measured =
      system === BARE
        ? await measureProgram(stage, count, () => publish(running, { key, count }))
        : await measureProgram(stage, count, () => {
            const url = running.brokerUrl('order');
            return runProgram(PARTS.publish, { url, service: 'order', type, key, count, body: EVENT });
          });
    return withFaults(measured, queueFaults(await running.queueDepths(), { [SINK]: count }));
  });
}

/** amqplib, or the chassis without its database. */
export async function runConsuming(
  stage: Stage,
  system: System,
  options: { round: number; messages: number },
): Promise<MessagingResult> {
  const { messages: count } = options;
  return measure(stage, system, { ...options, kind: 'consume' }, async (running) => {
    const key = orderCreated.routingKey;
    let measured: Measured;
    if (system === BARE) {
      const url = running.brokerUrl();
      await makeSink(url);
      await publish(running, { key, count });
      measured = await measureProgram(stage, count, () =>
        runProgram(RAW.consume, { url, queue: SINK, count }),
      );
    } else {
      const consumer = { url: running.brokerUrl('payment'), service: 'payment' };
      await runProgram(PARTS.consume, { ...consumer, count: 0 });
      await publish(running, { key, count, as: 'order' });
      measured = await measureProgram(stage, count, () => runProgram(PARTS.consume, { ...consumer, count }));
    }
    return withFaults(measured, queueFaults(await running.queueDepths(), {}));
  });
}

/** A consumer that saves a row a message. */
export async function runSaving(
  stage: Stage,
  system: System,
  options: { round: number; messages: number },
): Promise<MessagingResult> {
  const { messages: count } = options;
  return measure(stage, system, { ...options, kind: 'save' }, async (running) => {
    // Its queue is there once it has run.
    await running.stop();
    if (system.definitions) await publish(running, { key: orderCreated.routingKey, count, as: 'order' });
    else await publish(running, { exchange: '', key: 'saver', count, body: PACKET });
    return drainQueue(stage, running, count);
  });
}

async function measure(
  stage: Stage,
  system: System,
  { kind, round, messages }: Pick<MessagingResult, 'kind' | 'round' | 'messages'>,
  work: (running: RunningSystem) => Promise<Measured & { faults?: string[] }>,
): Promise<MessagingResult> {
  const { name, title } = system;
  const result: MessagingResult = { kind, system: name, title, round, messages, perSecond: 0, faults: [] };
  let running: RunningSystem | undefined;
  try {
    running = await RunningSystem.start(stage, system);
    Object.assign(result, await work(running));
  } catch (error) {
    result.faults.push((error as Error).message);
  } finally {
    await running?.remove();
  }
  return result;
}

/** From the first message that the sink has got to the last. */
async function drainOutbox(stage: Stage, running: RunningSystem, count: number): Promise<Measured> {
  const connection = await connect(running.brokerUrl());
  try {
    const channel = await connection.createChannel();
    const depth = async () => (await channel.checkQueue(SINK)).messageCount;
    const before = await depth();
    const { type, routingKey } = orderCreated;
    await query(running.databaseUrl('order'), FILL_OUTBOX, [count, type, routingKey, EVENT]);
    const cpu = cpuOf(stage, running);
    let first: { at: number; done: number } | undefined;
    const deadline = performance.now() + limitMs(count);
    for (;;) {
      const done = (await depth()) - before;
      const at = performance.now();
      if (done > 0) first ??= { at, done };
      if (done >= count && first) {
        if (done > count) throw new Error(`${done} messages were published, not ${count}`);
        const perSecond = ((count - first.done) / Math.max(1, at - first.at)) * 1_000;
        return { messages: count, perSecond, cost: ((cpuOf(stage, running) - cpu) * 1_000_000) / count };
      }
      if (at > deadline) throw new Error(`${count - done} of ${count} messages were not published`);
      await wait(SINK_POLL_MS);
    }
  } finally {
    await connection.close();
  }
}

/** Rows by their commit times, the first tenth left out; CPU from when the service is ready. */
async function drainQueue(stage: Stage, running: RunningSystem, count: number): Promise<Measured> {
  const [service = ''] = running.system.services.map((program) => program.service);
  const client = new pg.Client({ connectionString: running.databaseUrl(service) });
  await client.connect();
  try {
    const rows = async () =>
      (await client.query('select count(*)::int as count from payments')).rows[0].count as number;
    await running.launch();
    const cpu = cpuOf(stage, running);
    const before = await rows();
    const deadline = performance.now() + limitMs(count);
    while ((await rows()) < count && performance.now() < deadline) await wait(POLL_MS);
    const after = cpuOf(stage, running);
    const { rows: times } = await client.query<{ at: number; id: string }>(
      `select order_id as id, extract(epoch from pg_xact_commit_timestamp(xmin))::float8 as at from payments order by at`,
    );
    const different = new Set(times.map(({ id }) => id)).size;
    if (times.length !== count || different !== count)
      throw new Error(`${times.length} rows for ${different} messages were saved, not ${count}`);
    const skipped = Math.floor(count / 10);
    const seconds = (times.at(-1)?.at ?? 0) - (times[skipped]?.at ?? 0);
    return {
      messages: count,
      perSecond: (count - skipped) / seconds,
      cost: before < count ? ((after - cpu) * 1_000_000) / (count - before) : undefined,
    };
  } finally {
    await client.end();
  }
}

/** Seconds of CPU so far of the services, the broker and PostgreSQL. */
function cpuOf(stage: Stage, running: RunningSystem): number {
  const services = [...running.processes.values()].map(({ pid }) => pid);
  const { services: own, broker, database } = readCpu({ services, ...stage.pids });
  return own + broker + database;
}

async function makeSink(url: string): Promise<void> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  const alternate = { arguments: { 'alternate-exchange': 'unrouted' } };
  await channel.assertExchange('events', 'topic', { durable: true, ...alternate });
  await channel.assertQueue(SINK, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  await channel.bindQueue(SINK, 'events', '#');
  await connection.close();
}

/** CPU of the program after its first tenth, and of the broker for all of it. */
async function measureProgram(stage: Stage, count: number, run: () => Promise<Usage>): Promise<Measured> {
  const brokerSeconds = () => readCpu({ services: [], ...stage.pids }).broker;
  const before = brokerSeconds();
  const { messages, seconds, cpuSeconds } = await run();
  const cost = cpuSeconds / messages + (brokerSeconds() - before) / count;
  return { messages: count, perSecond: messages / seconds, cost: cost * 1_000_000 };
}

/** @param as the service whose broker user publishes, and vouches for it */
function publish(
  running: RunningSystem,
  options: { key: string; count: number; exchange?: string; body?: string; as?: string },
): Promise<Usage> {
  const { key, count, exchange = 'events', body = EVENT, as } = options;
  const url = running.brokerUrl(as);
  const properties: Options.Publish = {
    contentType: 'application/cloudevents+json',
    type: orderCreated.type,
    userId: decodeURIComponent(new URL(url).username),
  };
  return runProgram(RAW.publish, { url, exchange, key, count, body, properties });
}

/** Its output goes to a file, as that of a service does. @returns the line of it that is the usage; all zero when there is none */
async function runProgram(program: string, options: object): Promise<Usage> {
  const directory = mkdtempSync(join(tmpdir(), 'warren-bench-program-'));
  const forget = registerCleanup({ type: 'directory', path: directory });
  const file = join(directory, 'output');
  const output = openSync(file, 'w');
  try {
    const child = spawn(process.execPath, [program, JSON.stringify(options)], {
      stdio: ['ignore', output, output],
    });
    const [code] = await once(child, 'exit');
    const lines = readFileSync(file, 'utf8').trim().split('\n');
    if (code !== 0) throw new Error(`${program} failed: ${lines.slice(-5).join(' | ')}`);
    const usage = lines.find((line) => line.startsWith('{"messages"'));
    return usage === undefined ? { messages: 0, seconds: 0, cpuSeconds: 0 } : JSON.parse(usage);
  } finally {
    closeSync(output);
    rmSync(directory, { recursive: true, force: true });
    forget();
  }
}
