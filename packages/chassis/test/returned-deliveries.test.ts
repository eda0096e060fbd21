import { buildEvent } from '@warren/events';
import {
  client,
  eventually,
  freePorts,
  type Recorded,
  startProcess,
  type TestBroker,
  type TestDatabase,
  withBroker,
  withDatabase,
} from '@warren/testkit';
import type { Options } from 'amqplib';
import { expect } from 'chai';
import { newId } from '../src/id.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { createLog } from '../src/telemetry/index.ts';
import { api, disconnect } from './fixtures/management.ts';
import { hear, listener, written } from './fixtures/services.ts';

const LONG = { timeout: 60_000 };
const QUEUE = 'beta.alpha.written';
const DLQ = `${QUEUE}.dlq`;

const eventOf = (text = 'x') =>
  buildEvent(written, { id: newId(), source: '/alpha', time: new Date(), data: { noteId: newId(), text } });

interface Line {
  level: string;
  msg: string;
  [field: string]: unknown;
}

/** Starts beta, whose log the test reads. */
async function launch(broker: TestBroker, database: TestDatabase, lines: Line[], handler = hear) {
  const stream = { write: (line: string) => void lines.push(JSON.parse(line)) };
  const service = await start(
    listener('beta', handler),
    {
      PORT: '0',
      ADMIN_PORT: '0',
      AMQP_URL: broker.url('beta'),
      DATABASE_URL: database.url,
      RETRY_DELAYS: '10m',
    },
    { log: createLog({ service: 'beta', version: '1', level: 'info', stream }) },
  );
  await eventually(() => expect(service.ready()).to.equal(true), LONG);
  return service;
}

/** Makes the database refuse the service's role, until the returned function is called. */
async function refuse(database: TestDatabase): Promise<() => Promise<unknown>> {
  const { username } = new URL(database.url);
  await database.admin(`alter role "${username}" connection limit 0`);
  await database.admin(
    `select pg_terminate_backend(pid) from pg_stat_activity where usename = '${username}'`,
  );
  return () => database.admin(`alter role "${username}" connection limit -1`);
}

const unavailable = (service: RunningService) =>
  eventually(async () => {
    expect((await client(service.adminUrl).get('/readyz')).body.database).to.equal('unreachable');
  }, LONG);
const heard = async (database: TestDatabase) =>
  (await database.admin<{ n: number }>('select count(*)::int n from heard'))[0]?.n as number;
const outcomes = async ({ metrics }: RunningService) =>
  Object.fromEntries(
    (await metrics.eventsConsumed.get()).values.map(({ labels, value }) => [labels.outcome, value]),
  );

describe('deliveries in flight when the database becomes unavailable', function () {
  this.timeout(180_000);
  after(() => service?.stop());
  const broker = withBroker({ services: ['alpha', 'beta'] });
  const database = withDatabase();
  const lines: Line[] = [];
  let service: RunningService;
  /** Each handler that has begun waits for it. */
  let gate: Promise<unknown> = Promise.resolve();
  let begun = 0;

  before(async () => {
    service = await launch(broker, database, lines, async (event, work) => {
      begun += 1;
      await gate;
      await hear(event, work);
    });
  });

  it('are returned to their queue in order, byte for byte, with their properties, without counting as a retry', async () => {
    const before = await heard(database);
    const closed = Promise.withResolvers<void>();
    gate = closed.promise;
    begun = 0;
    const sent: { content: string; properties: Options.Publish }[] = Array.from({ length: 30 }, (_, i) => {
      const event = eventOf(`${i}`);
      return {
        // Whitespace and an unknown member: what a parser would lose.
        content: JSON.stringify({ ...event, extra: [i] }, null, i % 3),
        properties: {
          messageId: event.id,
          contentType: 'application/cloudevents+json',
          contentEncoding: 'identity',
          correlationId: `correlation ${i}`,
          replyTo: 'nowhere',
          type: written.type,
          appId: 'alpha',
          timestamp: 1_700_000_000 + i,
          expiration: '3600000',
          priority: 4,
          headers: {
            number: i,
            text: 'ü',
            flag: true,
            list: [1, 'two'],
            nested: { deep: { deeper: 1 } },
            'x-warren-attempts': 1,
          },
        },
      };
    });
    for (const { content, properties } of sent)
      await broker.publish('events', written.routingKey, content, properties);
    await eventually(() => expect(begun).to.be.above(0), LONG);
    await eventually(async () => expect(await broker.queueDepth(QUEUE)).to.equal(0), LONG);

    const recover = await refuse(database);
    let returned: Recorded[];
    try {
      closed.resolve();
      await unavailable(service);
      await eventually(async () => expect(await broker.queueDepth(QUEUE)).to.equal(30), LONG);
      returned = await broker.get(QUEUE);
    } finally {
      await recover();
    }

    expect(returned.map(({ content }) => content.toString())).to.deep.equal(
      sent.map(({ content }) => content),
    );
    for (const [i, { properties }] of returned.entries()) {
      const { headers, ...own } = (sent[i] as (typeof sent)[number]).properties;
      expect(properties).to.deep.include(own);
      const { 'x-delivery-count': deliveries = 0, ...returnedHeaders } = properties.headers ?? {};
      expect(deliveries).to.equal(0);
      expect(returnedHeaders).to.deep.equal({
        ...headers,
        'x-warren-exchange': 'events',
        'x-warren-routing-key': written.routingKey,
      });
    }
    await eventually(async () => expect(await heard(database)).to.equal(before + 30), LONG);
    expect(await outcomes(service)).to.deep.include({ retried: 0, dead: 0 });
    expect(await broker.queueDepth(DLQ)).to.equal(0);
    expect(lines.some(({ msg }) => msg === 'deliveries returned to their queue')).to.equal(true);
  });

  it('are requeued when the broker does not take them, and never lost', async () => {
    const before = await heard(database);
    await broker.publish('events', written.routingKey, eventOf());
    await eventually(async () => expect(await heard(database)).to.equal(before + 1), LONG);
    const closed = Promise.withResolvers<void>();
    gate = closed.promise;
    begun = 0;
    for (let i = 0; i < 10; i += 1) await broker.publish('events', written.routingKey, eventOf());
    await eventually(() => expect(begun).to.be.above(0), LONG);
    // Until the service looks at its topology again, there is no way back to the queue.
    await unbind(broker);
    const recover = await refuse(database);
    try {
      closed.resolve();
      await unavailable(service);
      await eventually(async () => expect(await broker.queueDepth(QUEUE)).to.equal(10), LONG);
    } finally {
      await recover();
    }
    await eventually(async () => expect(await heard(database)).to.equal(before + 11), LONG);
    expect(await broker.queueDepth(DLQ)).to.equal(0);
  });

  it('are all handled after outages of database and broker connection, one within the other', async () => {
    const before = await heard(database);
    gate = Promise.resolve();
    let published = 0;
    for (let round = 0; round < 4; round += 1) {
      for (let i = 0; i < 25; i += 1) {
        await broker.publish('events', written.routingKey, eventOf());
        published += 1;
      }
      const recover = await refuse(database);
      try {
        if (round % 2 === 1) await unavailable(service);
        await disconnect(broker);
      } finally {
        await recover();
      }
    }
    await eventually(async () => expect(await heard(database)).to.equal(before + published), LONG);
    expect(await outcomes(service)).to.deep.include({ retried: 0, dead: 0 });
    expect(await broker.queueDepth(DLQ)).to.equal(0);
  });

  it('do not delay a shutdown, and stay in the queue', async () => {
    const before = await heard(database);
    const closed = Promise.withResolvers<void>();
    gate = closed.promise;
    begun = 0;
    for (let i = 0; i < 20; i += 1) await broker.publish('events', written.routingKey, eventOf());
    await eventually(() => expect(begun).to.be.above(0), LONG);
    const recover = await refuse(database);
    try {
      closed.resolve();
      expect(await service.stop(), 'stopped in time').to.equal(true);
    } finally {
      await recover();
    }
    await eventually(async () => expect(await broker.queueDepth(QUEUE)).to.equal(20), LONG);
    gate = Promise.resolve();
    service = await launch(broker, database, lines, hear);
    await eventually(async () => expect(await heard(database)).to.equal(before + 20), LONG);
    expect(await broker.queueDepth(DLQ)).to.equal(0);
  });
});

/** Takes the way from `beta.return` to the queue away. */
async function unbind(broker: TestBroker): Promise<void> {
  const vhost = encodeURIComponent(broker.vhost);
  const { status } = await api(broker, 'DELETE', `bindings/${vhost}/e/beta.return/q/${QUEUE}/${QUEUE}`);
  expect(status).to.equal(204);
}

describe('a database that is unavailable for longer than the consumer_timeout of the broker', function () {
  this.timeout(240_000);
  after(() => service?.stop());
  const TIMEOUT = 10_000;
  const broker = withBroker({
    services: ['alpha', 'beta'],
    private: true,
    settings: { consumer_timeout: TIMEOUT, channel_tick_interval: 1_000, quorum_tick_interval: 1_000 },
  });
  const database = withDatabase();
  const lines: Line[] = [];
  let service: RunningService;

  const said = () => lines.map(({ time, msg }) => `${time} ${msg}`).join('\n');
  const deliveriesOf = ({ headers }: Recorded['properties']) => Number(headers?.['x-delivery-count'] ?? 0);

  it('costs no channel, and counts at most once against each event', async () => {
    service = await launch(broker, database, lines);
    const recover = await refuse(database);
    const since = Date.now();
    let waiting: Recorded[];
    try {
      for (let i = 0; i < 20; i += 1) await broker.publish('events', written.routingKey, eventOf());
      await unavailable(service);
      await eventually(() => Date.now() - since > 2.5 * TIMEOUT, LONG);
      waiting = await broker.get(QUEUE);
    } finally {
      await recover();
    }
    expect(waiting).to.have.length(20);
    // RabbitMQ 3.10 counts what it was about to deliver when the consumer was cancelled; 4.3 does not. Whoever holds deliveries
    // until the time-out loses its channel, and counts one each time.
    const most = Math.max(...waiting.map(({ properties }) => deliveriesOf(properties)));
    expect(most, said()).to.be.at.most(1);
    await eventually(async () => expect(await heard(database)).to.equal(20), LONG);
    expect(
      lines.filter(({ msg }) => /^(the )?broker /.test(msg)),
      said(),
    ).to.deep.equal([]);
    expect(await broker.queueDepth(DLQ)).to.equal(0);
  });
});

describe('an event that ends every process that handles it', function () {
  this.timeout(400_000);
  const broker = withBroker({ services: ['alpha', 'beta'] });
  const database = withDatabase();

  it('is the only one in the dead-letter queue; the others have their effect once', async () => {
    // Declares the queue and the tables.
    await (await launch(broker, database, [])).stop();
    const neighbours = Array.from({ length: 20 }, () => eventOf());
    const poison = eventOf('poison');
    const events = [...neighbours.slice(0, 2), poison, ...neighbours.slice(2)];
    for (const event of events) await broker.publish('events', written.routingKey, event);

    const [port, adminPort] = (await freePorts(2)) as [number, number];
    const env = {
      PORT: port,
      ADMIN_PORT: adminPort,
      AMQP_URL: broker.url('beta'),
      DATABASE_URL: database.url,
      LOG_LEVEL: 'warn',
    };
    let deaths = 0;
    for (; (await broker.queueDepth(DLQ)) === 0 && deaths < 30; deaths += 1) {
      const beta = startProcess({ cwd: '.', entry: 'test/fixtures/beta-process.ts', env });
      const dead = eventually(async () => expect(await broker.queueDepth(DLQ)).to.equal(1), LONG);
      await Promise.race([beta.ended, dead]);
      if (beta.exitCode === undefined) await beta.kill('SIGTERM');
    }
    const service = await launch(broker, database, []);
    try {
      await eventually(async () => expect(await heard(database)).to.equal(20), LONG);
      const dead = await broker.get(DLQ);
      expect(dead.map(({ body }) => body.id)).to.deep.equal([poison.id]);
      const rows = await database.admin<{ event_id: string }>('select event_id from heard');
      expect(rows.map(({ event_id: id }) => id).sort()).to.deep.equal(neighbours.map(({ id }) => id).sort());
      console.log(`        after ${deaths} deaths`);
    } finally {
      await service.stop();
    }
  });
});
