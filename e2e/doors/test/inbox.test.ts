// The consumer on every driver and ORM, against a real broker and a real database.
import { type Consumer, type ConsumerOptions, createConsumer, type Work } from '@warren/chassis/inbox';
import { createMessaging, defineEvent, Joi, type Messaging } from '@warren/chassis/messaging';
import { migrate } from '@warren/chassis/migrations';
import { eventually, message, openProxy, type TcpProxy, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { type Candidate, candidates } from './fixtures/candidates.ts';
import { THINGS, type ThingSaved, thingSaved } from './fixtures/things.ts';

const QUEUE = 'shelf.thing.saved';
const DLQ = `${QUEUE}.dlq`;

const shelfFilled = defineEvent<{ thingId: string }>({
  type: 'shelf.filled',
  version: 1,
  data: { thingId: Joi.string().required() },
});

type Handler = ConsumerOptions<ThingSaved, unknown>['handler'];

for (const [name, open] of Object.entries(candidates))
  describe(`a consumer on ${name}`, function () {
    this.timeout(60_000);
    let candidate: Candidate<unknown>;
    let messaging: Messaging;
    let consumer: Consumer;
    let proxy: TcpProxy;
    after(async () => {
      await messaging?.stop();
      await candidate?.close();
      await proxy?.close();
    });
    const broker = withBroker({ services: ['thing', 'shelf'] });
    const database = withDatabase();
    const outcomes: string[] = [];
    const states: boolean[] = [];
    let wakes = 0;
    let handler: Handler;

    const save: Handler = async ({ data }, work) => {
      await candidate.save(work.transaction, data.thingId, data.name);
    };
    /** SQL in the transaction of a handler. */
    const run = (work: Work<unknown>, text: string, values: unknown[] = []) =>
      candidate.adapter.query(work.transaction)(text, values);

    before(async () => {
      await migrate(database.url);
      await database.admin(`${THINGS}; grant all on things to public`);
      proxy = await openProxy(database.url);
      candidate = (await open(proxy.url)) as Candidate<unknown>;
      messaging = createMessaging({
        service: 'shelf',
        brokerUrl: broker.url('shelf'),
        hooks: { onDatabase: (available) => states.push(available) },
      });
      consumer = createConsumer({
        messaging,
        adapter: candidate.adapter,
        event: thingSaved,
        handler: (event, work) => handler(event, work),
        publications: [shelfFilled],
        relay: { wake: () => void wakes++ },
        retry: ['100ms'],
        timeout: 1_500,
        hooks: { onConsumed: ({ outcome }) => outcomes.push(outcome) },
      });
      consumer.start();
      await messaging.connected();
    });
    beforeEach(async () => {
      handler = save;
      outcomes.length = 0;
      states.length = 0;
      wakes = 0;
      await broker.purge(DLQ);
      await database.admin('truncate things, warren.inbox, warren.outbox, warren.tasks');
    });

    const publish = async (thingId: string, text = 'a name', id?: string) => {
      const sent = message(
        thingSaved,
        { thingId, name: text },
        { subject: thingId, ...(id !== undefined && { id }) },
      );
      await broker.publish(...sent.published);
      return sent;
    };
    const things = async () =>
      (await database.admin<{ id: string }>('select id from things order by id')).map(({ id }) => id);
    const settled = (count: number) =>
      eventually(() => expect(outcomes).to.have.length(count), { timeout: 20_000 });
    const numbered = (count: number) => Array.from({ length: count }, (_, n) => String(n).padStart(3, '0'));

    it('gives each event its effect once, however often it is delivered', async () => {
      const ids = numbered(50);
      const sent = await Promise.all(ids.map((id) => publish(id)));
      await Promise.all(sent.map(({ published }) => broker.publish(...published)));
      await settled(100);
      expect(await things()).to.deep.equal(ids);
      expect(outcomes.filter((outcome) => outcome === 'duplicate')).to.have.length(50);
    });

    it('handles the neighbours of an event whose handler throws, and dead-letters it with the reason', async () => {
      handler = async (event, work) => {
        await save(event, work);
        if (event.data.thingId === '007') throw new Error('not seven');
      };
      const ids = numbered(20);
      await Promise.all(ids.map((id) => publish(id)));
      await settled(21);
      expect(await things()).to.deep.equal(ids.filter((id) => id !== '007'));
      const [dead] = await broker.get(DLQ);
      expect(dead?.properties.headers).to.include({
        'x-warren-reason': 'handler_failed',
        'x-warren-error': 'not seven',
      });
      expect(dead?.properties.headers?.['x-warren-attempts']).to.equal(2);
    });

    it('dead-letters what is not an event at once, with the reason', async () => {
      await broker.publish('events', thingSaved.routingKey, Buffer.from('{"not": "an event"'), {});
      await settled(1);
      const [dead] = await broker.get(DLQ);
      expect(dead?.properties.headers).to.include({ 'x-warren-reason': 'not_json' });
    });

    it('retries an event whose handler ignores the error of a statement', async () => {
      handler = async (event, work) => {
        await save(event, work);
        if (event.data.thingId === '003') await run(work, 'select 1 / 0').catch(() => {});
      };
      const ids = numbered(8);
      await Promise.all(ids.map((id) => publish(id)));
      await settled(9);
      expect(await things()).to.deep.equal(ids.filter((id) => id !== '003'));
      const [dead] = await broker.get(DLQ);
      expect(dead?.properties.headers?.['x-warren-error']).to.match(/nothing (can be|was) committed/);
    });

    it('retries an event whose handler ends the transaction itself, and keeps the effects of the others', async () => {
      handler = async (event, work) => {
        await save(event, work);
        if (event.data.thingId === '003') await run(work, 'rollback');
      };
      const ids = numbered(8);
      await Promise.all(ids.map((id) => publish(id)));
      await settled(9);
      expect(await things()).to.deep.equal(ids.filter((id) => id !== '003'));
      const [dead] = await broker.get(DLQ);
      expect(dead?.properties.headers?.['x-warren-error']).to.match(
        /has ended the transaction of its batch|may not run "rollback"/,
      );
    });

    it('cancels the statement of a handler that takes too long, and goes on with the others', async () => {
      handler = async (event, work) => {
        if (event.data.thingId === '001') await run(work, 'select pg_sleep(60)::text as slept');
        await save(event, work);
      };
      await Promise.all(numbered(3).map((id) => publish(id)));
      await settled(4);
      expect(await things()).to.deep.equal(['000', '002']);
      const running = `select 1 from pg_stat_activity where query like '%pg_sleep(60)%' and state = 'active' and pid <> pg_backend_pid()`;
      expect(await database.admin(running)).to.have.length(0);
    });

    it('ends the connection of a handler that waits for something else for too long', async function () {
      // postgres.js throws outside every promise when a transaction goes on after the loss of its connection: it ends the process.
      if (name === 'Drizzle on postgres.js') this.skip();
      const forever = Promise.withResolvers<void>();
      handler = async (event, work) => {
        await save(event, work);
        if (event.data.thingId === 'stuck') await forever.promise;
      };
      await publish('stuck');
      await settled(2);
      expect(outcomes).to.deep.equal(['retried', 'dead']);
      await publish('next');
      await settled(3);
      expect(await things()).to.deep.equal(['next']);
      forever.resolve();
    });

    it('writes the events and tasks of a handler before the commit, and nothing of one that fails', async () => {
      handler = async (event, work) => {
        await save(event, work);
        await work.emit(shelfFilled, { thingId: event.data.thingId }, { aggregate: event.data.thingId });
        await work.schedule('tidy', { key: event.data.thingId, data: { deep: { text: "it's" } } });
        if (event.data.thingId === '002') throw new Error('no');
      };
      const sent = await Promise.all(numbered(4).map((id) => publish(id)));
      await settled(5);
      const rows = await database.admin<{ aggregate: string; body: string }>(
        'select aggregate, body from warren.outbox order by aggregate',
      );
      expect(rows.map(({ aggregate }) => aggregate)).to.deep.equal(['000', '001', '003']);
      expect(JSON.parse(rows[0]?.body as string)).to.include({
        type: 'shelf.filled',
        source: '/shelf',
        causationid: sent[0]?.id,
        correlationid: sent[0]?.event.correlationid,
      });
      expect(
        await database.admin(`select key, data from warren.tasks where kind = 'tidy' order by key`),
      ).to.deep.equal(['000', '001', '003'].map((key) => ({ key, data: { deep: { text: "it's" } } })));
      expect(wakes).to.be.greaterThan(0);
    });

    it('handles the events of one key one after the other, in the order of arrival', async () => {
      handler = async ({ data }, work) => {
        const rows = await run(work, 'select count(*)::int as n from things');
        await candidate.save(work.transaction, `${data.name}-${rows[0]?.n}`, 'x');
      };
      for (const n of numbered(10)) await publish('one', n);
      await settled(10);
      expect(await things()).to.deep.equal(numbered(10).map((n, i) => `${n}-${i}`));
    });

    it('leaves the events in the broker while the database is unavailable, and handles them afterwards', async () => {
      proxy.refuse(true);
      const ids = numbered(10);
      await Promise.all(ids.map((id) => publish(id)));
      await eventually(() => expect(states).to.deep.equal([false]), { timeout: 30_000 });
      await eventually(async () => expect(await broker.queueDepth(QUEUE)).to.equal(10), { timeout: 10_000 });
      proxy.refuse(false);
      await eventually(async () => expect(await things()).to.deep.equal(ids), { timeout: 30_000 });
      expect(outcomes.filter((outcome) => outcome === 'retried' || outcome === 'dead')).to.deep.equal([]);
      expect(states).to.deep.equal([false, true]);
    });
  });
