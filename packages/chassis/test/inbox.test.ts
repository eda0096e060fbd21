import { buildEvent } from '@warren/events';
import { eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import type { BatchOptions, WorkContext } from '../src/context.ts';
import { sendOn } from '../src/database/dialect.ts';
import { newId } from '../src/id.ts';
import { insertMessages, pruneInbox } from '../src/inbox/inbox.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { openWriter, prepare, type Schema, silent, type Writer } from './fixtures/relay.ts';
import { listener, written } from './fixtures/services.ts';

describe('the inbox', function () {
  this.timeout(60_000);

  describe('in a transaction', () => {
    const database = withDatabase();
    let writer: Writer;

    before(async () => {
      await prepare(database.url);
      writer = await openWriter(database.url);
    });
    after(() => writer?.close());
    beforeEach(() => database.admin('truncate warren.inbox, effects'));

    const origin = { correlationId: 'test', log: silent };
    /** What a consumer does with a message: whether it had its effect. */
    const handle = async (consumer: string, id: string, end = Promise.resolve()) => {
      let hadEffect = false;
      const piece = {
        key: id,
        origin,
        run: async ({ transaction }: WorkContext<Schema>) => {
          await transaction
            .insertInto('effects')
            .values({ id: `${consumer} ${id}`, n: 1 })
            .onConflict((conflict) =>
              conflict.column('id').doUpdateSet((eb) => ({ n: eb('effects.n', '+', 1) })),
            )
            .execute();
          await end;
          hadEffect = true;
        },
      };
      const first: BatchOptions<typeof piece>['first'] = async (run) =>
        (await run(insertMessages(consumer, [{ id }]))).rows.length === 1 ? [piece] : [];
      await writer.units.batch([piece], { first });
      return hadEffect;
    };
    const effects = () => database.admin<{ id: string; n: number }>('select id, n from effects order by id');

    it('lets a message have its effect once, and reports a repeat', async () => {
      const id = newId();
      expect(await handle('q', id)).to.equal(true);
      expect(await handle('q', id)).to.equal(false);
      expect(await effects()).to.deep.equal([{ id: `q ${id}`, n: 1 }]);
    });

    it('lets one of many at once have it', async () => {
      const id = newId();
      const had = await Promise.all(Array.from({ length: 200 }, () => handle('q', id)));
      expect(had.filter(Boolean)).to.have.length(1);
      expect(await effects()).to.deep.equal([{ id: `q ${id}`, n: 1 }]);
    });

    it('lets each consumer have its own', async () => {
      const id = newId();
      expect([await handle('p', id), await handle('q', id)]).to.deep.equal([true, true]);
    });

    it('forgets a message whose handling failed, also for one that waits for the outcome', async () => {
      const id = newId();
      const failing = Promise.withResolvers<void>();
      const first = handle('q', id, failing.promise).catch((error) => error.cause.message);
      await eventually(async () =>
        expect(
          await database.admin(`select 1 from pg_locks where relation = 'effects'::regclass`),
        ).to.have.length.above(0),
      );
      const second = handle('q', id);
      await eventually(async () =>
        expect(await database.admin('select 1 from pg_locks where not granted')).to.have.length.above(0),
      );
      failing.reject(new Error('no'));
      expect(await Promise.all([first, second])).to.deep.equal(['no', true]);
      expect(await effects()).to.deep.equal([{ id: `q ${id}`, n: 1 }]);
    });

    it('is pruned of what is older than the retention, and of nothing else', async () => {
      await database.admin(`
        insert into warren.inbox (consumer, message_id, received_at)
        select 'q', gen_random_uuid(), now() - interval '31 days' from generate_series(1, 12000)`);
      await database.admin(`
        insert into warren.inbox (consumer, message_id, received_at)
        select 'q', gen_random_uuid(), now() - interval '29 days' from generate_series(1, 10)`);
      const month = 30 * 24 * 60 * 60 * 1_000;
      const pruned = await Promise.all([
        pruneInbox(sendOn(writer.database.kysely), month),
        pruneInbox(sendOn(writer.database.kysely), month),
      ]);
      // Replicas prune at the same time; between them they get all of it.
      await pruneInbox(sendOn(writer.database.kysely), month);
      expect(Math.max(...pruned)).to.be.at.most(12_000);
      expect(await database.admin('select count(*)::int as n from warren.inbox')).to.deep.equal([{ n: 10 }]);
      expect(await pruneInbox(sendOn(writer.database.kysely), month)).to.equal(0);
    });
  });

  describe('of a service', () => {
    const broker = withBroker({ services: ['beta'] });
    const database = withDatabase();
    let service: RunningService | undefined;

    const launch = async (env: Record<string, string> = {}) => {
      service = await start(listener('beta'), {
        PORT: '0',
        ADMIN_PORT: '0',
        LOG_LEVEL: process.env.LOG_LEVEL ?? 'silent',
        AMQP_URL: broker.url('beta'),
        DATABASE_URL: database.url,
        RETRY_DELAYS: '100ms',
        ...env,
      });
      await eventually(() => service?.ready());
      return service;
    };
    afterEach(async () => {
      await service?.stop();
      service = undefined;
    });
    const consumed = async (outcome: string) => {
      const { values } = (await service?.metrics.eventsConsumed.get()) ?? { values: [] };
      return values
        .filter(({ labels }) => labels.outcome === outcome)
        .reduce((sum, { value }) => sum + value, 0);
    };

    it('gives 1,000 deliveries of one event one effect, and counts the others as duplicates', async () => {
      await launch();
      const event = buildEvent(written, {
        id: newId(),
        source: '/alpha',
        time: new Date(),
        data: { noteId: newId(), text: 'x' },
      });
      const since = performance.now();
      await Promise.all(
        Array.from({ length: 1_000 }, () =>
          broker.publish('events', 'alpha.written.v1', event, {
            messageId: event.id,
            contentType: 'application/cloudevents+json',
          }),
        ),
      );
      await eventually(
        async () => expect((await consumed('handled')) + (await consumed('duplicate'))).to.equal(1_000),
        { timeout: 30_000 },
      );
      console.log(`        1,000 deliveries in ${Math.round(performance.now() - since)} ms`);
      expect(await consumed('handled')).to.equal(1);
      expect(await database.admin('select event_id from heard')).to.deep.equal([{ event_id: event.id }]);
      expect(await broker.queueDepth('beta.alpha.written')).to.equal(0);
      expect(await broker.queueDepth('beta.alpha.written.dlq')).to.equal(0);
    });

    it('is pruned by the service itself', async () => {
      await launch();
      await service?.stop();
      await database.admin(
        `insert into warren.inbox values ('old', gen_random_uuid(), now() - interval '31 days')`,
      );
      await launch();
      await eventually(async () =>
        expect(await database.admin(`select 1 from warren.inbox where consumer = 'old'`)).to.have.length(0),
      );
    });
  });
});
