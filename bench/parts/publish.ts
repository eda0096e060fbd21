// The relay's way to the broker without its database: rows come out of memory; options, encoding, metrics, window and confirms are
// the relay's. Run with JSON and prints JSON, as ../peers/raw/publish.ts, which it is compared with.
import { randomUUID } from 'node:crypto';
import { Messaging } from '../../packages/chassis/src/messaging/connection.ts';
import { userOf } from '../../packages/chassis/src/messaging/producers.ts';
import { Publisher } from '../../packages/chassis/src/messaging/publisher.ts';
import { rascalConfig } from '../../packages/chassis/src/messaging/topology.ts';
import { IN_FLIGHT_LIMIT, READ_LIMIT, rowPublisher } from '../../packages/chassis/src/outbox/publish.ts';
import type { Row } from '../../packages/chassis/src/outbox/reader.ts';
import { countingHooks } from '../../packages/chassis/src/service/relay-hooks.ts';
import { createLog, createMetrics } from '../../packages/chassis/src/telemetry/index.ts';
import { measure, type Usage } from '../peers/raw/usage.ts';

const options = JSON.parse(process.argv[2] ?? '') as {
  /** Of the service's broker user. */
  url: string;
  service: string;
  type: string;
  key: string;
  count: number;
  /** $ID becomes a UUID of each event's own. */
  body: string;
};
const { url, service, type, key, count, body } = options;

const log = createLog({ service, version: '0', level: 'info' });
const metrics = createMetrics({ service, version: '0', http: false, database: true, broker: true });
const messaging = new Messaging({
  url,
  name: service,
  config: () => rascalConfig({ service, vhosts: { publish: {} } }),
  log,
});
const rows = Array.from({ length: count }, (_, index) => rowOf(index));

messaging.start();
await messaging.connected();
const publisher = await Publisher.open(() => messaging.connect());
console.log(JSON.stringify(await publishAll()));
await publisher.close();
await messaging.close();

function rowOf(index: number): Row {
  const id = randomUUID();
  const text = body.replaceAll('$ID', id);
  return {
    id: String(index),
    event_id: id,
    type,
    routing_key: key,
    aggregate: id,
    body: text,
    correlation_id: id,
    traceparent: null,
    created: Math.floor(Date.now() / 1_000),
    bytes: Buffer.byteLength(text),
  };
}

/** As the relay fills its window: up to a batch at once, anew when half of it is free. */
async function publishAll(): Promise<Usage> {
  const publish = rowPublisher({ service, user: userOf(url), hooks: countingHooks(metrics) });
  const { done } = measure(count);
  const { promise: all, resolve, reject } = Promise.withResolvers<Usage>();
  let inFlight = 0;
  let sent = 0;
  let wake = () => {};
  const settled = (error?: Error) => {
    if (error !== undefined) reject(error);
    inFlight -= 1;
    if (inFlight === IN_FLIGHT_LIMIT / 2) wake();
    const usage = done();
    if (usage !== undefined) resolve(usage);
  };
  const sendAll = async () => {
    while (sent < count) {
      const end = Math.min(count, sent + Math.min(READ_LIMIT, IN_FLIGHT_LIMIT - inFlight));
      for (; sent < end; sent += 1, inFlight += 1) publish(publisher, rows[sent] as Row, settled);
      await publisher.room();
      if (inFlight <= IN_FLIGHT_LIMIT / 2) continue;
      await new Promise<void>((resume) => {
        wake = resume;
      });
    }
  };
  sendAll().catch(reject);
  return all;
}
