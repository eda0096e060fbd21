import { once } from 'node:events';
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { buildEvent } from '@warren/events';
import { eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { sql } from 'kysely';
import type { WorkContext } from '../src/context.ts';
import { newId } from '../src/id.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { createLog } from '../src/telemetry/index.ts';
import { hear, listener, written } from './fixtures/services.ts';

const QUEUE = 'beta.alpha.written';
const DLQ = `${QUEUE}.dlq`;

const cyclic = new Error('I am my own cause');
cyclic.cause = cyclic;

/** What handlers throw, by the text of the event. */
const failures: Record<string, () => unknown> = {
  'a string': () => 'no',
  nothing: () => undefined,
  null: () => null,
  'an object without a prototype': () => Object.create(null),
  'an error whose message is an object': () => Object.assign(new Error('x'), { message: { text: 'no' } }),
  'an error that is its own cause': () => cyclic,
  'an error as from a connection that is not the database': () =>
    Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }),
};

describe('a handler that fails in unusual ways', function () {
  this.timeout(60_000);
  after(() => beta?.stop());
  const broker = withBroker({ services: ['alpha', 'beta'] });
  const database = withDatabase();
  let beta: RunningService;
  const complaints: string[] = [];

  const publish = (text: string, changes: object = {}) => {
    const event = buildEvent(written, {
      id: newId(),
      source: '/alpha',
      time: new Date(),
      data: { noteId: newId(), text },
    });
    return broker.publish('events', written.routingKey, JSON.stringify({ ...event, ...changes }));
  };
  const handled = async () =>
    (await database.admin<{ n: number }>('select count(*)::int n from heard'))[0]?.n as number;

  before(async () => {
    beta = await start(
      listener('beta', async (event, work) => {
        const failure = failures[event.data.text];
        if (failure !== undefined) throw failure();
        if (event.data.text === 'swallow') return swallow(work);
        if (event.data.text === 'end the backend')
          await sql`select pg_terminate_backend(pg_backend_pid())`.execute(work.transaction);
        await hear(event, work);
      }),
      {
        PORT: '0',
        ADMIN_PORT: '0',
        AMQP_URL: broker.url('beta'),
        DATABASE_URL: database.url,
        RETRY_DELAYS: '100ms',
      },
      {
        log: createLog({
          service: 'beta',
          version: '1',
          level: 'warn',
          stream: { write: (line) => complaints.push(line) },
        }),
      },
    );
    await eventually(() => expect(beta.ready()).to.equal(true));
  });
  beforeEach(async () => {
    await broker.purge(DLQ);
  });

  async function swallow(work: WorkContext) {
    await sql`select 1 / 0`.execute(work.transaction).catch(() => {});
  }

  for (const what of [...Object.keys(failures), 'end the backend', 'swallow'])
    it(`makes its event be retried and dead-lettered: ${what}`, async () => {
      const before = await handled();
      for (let i = 0; i < 6; i += 1) await publish(what);
      await publish('good');
      await eventually(async () => expect(await handled()).to.equal(before + 1), { timeout: 12_000 });
      await eventually(async () => expect(await broker.queueDepth(DLQ)).to.equal(6), { timeout: 20_000 });
    });

  it('never gets a message with headers nested deeper than the stack, which costs no connection and no other message', async () => {
    const before = await handled();
    complaints.length = 0;
    const code = `
      const { workerData } = require('node:worker_threads');
      const { connect } = require(workerData.amqplib);
      let deep = [];
      for (let level = 0; level < 11_000; level += 1) deep = [deep];
      connect(workerData.url).then(async (connection) => {
        const channel = await connection.createConfirmChannel();
        channel.publish('events', workerData.key, Buffer.from('{}'), { headers: { deep } });
        await channel.waitForConfirms();
        await connection.close();
      });`;
    for (let i = 0; i < 50; i += 1) await publish('good');
    // Encoding it takes a stack that is deeper than the one it is decoded with.
    const publisher = new Worker(code, {
      eval: true,
      resourceLimits: { stackSizeMb: 64 },
      workerData: {
        amqplib: createRequire(import.meta.url).resolve('amqplib'),
        url: broker.adminUrl,
        key: written.routingKey,
      },
    });
    await once(publisher, 'exit');
    for (let i = 0; i < 50; i += 1) await publish('good');
    await eventually(async () => expect(await handled()).to.equal(before + 100));
    await eventually(async () => expect(await broker.queueDepth(DLQ)).to.equal(1));
    expect(complaints.filter((line) => line.includes('broker'))).to.deep.equal([]);
  });

  it('never gets an event with an invalid time, which is settled once', async () => {
    complaints.length = 0;
    await publish('good', { time: '2026-01-01T00:00:00+01' });
    await eventually(async () => expect(await broker.queueDepth(DLQ)).to.equal(1));
    expect(complaints.filter((line) => line.includes('broker'))).to.deep.equal([]);
  });
});
