// What an event costs the relay, by how many wait behind it:  node bench/outbox-backlog.ts [1000 100000 1000000]
// Fills an outbox and drains it: database, publish, confirm and delete. The second time a transaction elsewhere holds an old
// snapshot, so that nothing that the relay deletes can be cleaned away. Figures are of this machine and this moment: look at
// the ratios.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  createDatabase,
  dropDatabase,
  loadDefinitions,
  managementOf,
  platformDefinitions,
  query,
  startBroker,
  startDatabase,
} from '@warren/testkit';
import { connect } from 'amqplib';
import pg from 'pg';
import { FILL, prepare, startRelay } from '../test/fixtures/relay.ts';

const sizes = process.argv.slice(2).map(Number);
if (sizes.length === 0) sizes.push(1_000, 100_000, 1_000_000);
/** Events at the start and at the end of a backlog whose rates are compared. */
const PART = 100_000;
/** Events to measure at least: a small backlog is drained again and again. */
const LEAST = 100_000;
/** ms to spend on one line. */
const LIMIT = 600_000;

const broker = await startBroker();
const server = await startDatabase();
const loaded = await loadDefinitions({
  management: managementOf(broker),
  brokerUrl: broker.url,
  vhost: `warren-bench-${process.pid}`,
  definitions: platformDefinitions(['alpha']),
});
const operator = await connect(loaded.operatorUrl);
const channel = await operator.createChannel();
// A queue that keeps nothing worth speaking of.
const { queue } = await channel.assertQueue('', { exclusive: true, arguments: { 'x-max-length': 100 } });
await channel.bindQueue(queue, 'events', '#');

let base: number | undefined;
try {
  console.log(
    'backlog    old snapshot  events/s   first 100k    last 100k    cost of an event, 1 = the smallest backlog',
  );
  for (const oldSnapshot of [false, true]) for (const size of sizes) await measure(size, oldSnapshot);
} finally {
  await operator.close();
  await loaded.remove();
  await server.stop();
  await broker.stop();
}

async function measure(size: number, oldSnapshot: boolean): Promise<void> {
  const name = `warren_bench_${process.pid}`;
  const url = await createDatabase({ server: server.url, name });
  await prepare(url);
  const reader = new pg.Client({ connectionString: url });
  reader.on('error', () => {});
  await reader.connect();
  if (oldSnapshot) await reader.query('begin isolation level repeatable read; select 1 from pg_class');
  const relay = startRelay({ databaseUrl: url, brokerUrl: loaded.url('alpha') });
  const confirmed = async () => {
    const { values } = await relay.metrics.eventsPublished.get();
    return values.find(({ labels }) => labels.outcome === 'confirmed')?.value ?? 0;
  };

  let total = 0;
  let ms = 0;
  /** Of the last round. */
  let marks: { ms: number; done: number }[] = [];
  for (let round = 0; round < Math.max(1, LEAST / size) && ms < LIMIT; round += 1) {
    const before = await confirmed();
    await query(url, FILL, [size, 1_000]);
    marks = [{ ms: 0, done: 0 }];
    const since = performance.now();
    relay.relay.wake();
    while (marks.at(-1)!.done < size && marks.at(-1)!.ms < LIMIT) {
      await sleep(2);
      marks.push({ ms: performance.now() - since, done: (await confirmed()) - before });
    }
    total += marks.at(-1)!.done;
    ms += marks.at(-1)!.ms;
  }
  await relay.stop(5_000);
  await reader.end();
  await dropDatabase(server.url, name);

  const rate = (from: number, to: number) => {
    const first = marks.findLast(({ done }) => done <= from)!;
    const last = marks.find(({ done }) => done >= to)!;
    return ((last.done - first.done) / (last.ms - first.ms)) * 1_000;
  };
  const end = marks.at(-1)!.done;
  const all = (total / ms) * 1_000;
  base ??= all;
  const parts = end > PART ? [rate(0, PART), rate(end - PART, end)].map((each) => each.toFixed(0)) : ['', ''];
  const cells = [String(size).padEnd(10), (oldSnapshot ? 'yes' : 'no').padEnd(13), all.toFixed(0).padEnd(10)];
  cells.push((parts[0] as string).padEnd(13), (parts[1] as string).padEnd(12), (base / all).toFixed(2));
  if (end < size) cells.push(`(${end} of them in ${LIMIT / 1_000} s)`);
  console.log(cells.join(' '));
}
