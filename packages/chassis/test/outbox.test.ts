import { defineEvent, Joi } from '@warren/events';
import { eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { sql } from 'kysely';
import { newId } from '../src/id.ts';
import { MAX_EVENT_BYTES } from '../src/outbox/outbox.ts';
import { outboxStats } from '../src/outbox/stats.ts';
import { FILL, NOTE, openWriter, prepare, silent, startRelay, type Writer } from './fixtures/relay.ts';
import { written } from './fixtures/services.ts';

describe('the outbox', function () {
  this.timeout(30_000);
  const database = withDatabase();
  let writer: Writer;
  let commits = 0;

  before(async () => {
    await prepare(database.url);
    writer = await openWriter(database.url, { onCommit: () => void commits++ });
  });
  after(() => writer?.close());
  beforeEach(async () => {
    await database.admin('truncate warren.outbox, counters');
    commits = 0;
  });

  const origin = { correlationId: 'from-the-test', log: silent };
  const rows = () =>
    database.admin<{ event_id: string; body: string; [column: string]: unknown }>(
      'select * from warren.outbox order by id',
    );
  const counters = () => database.admin('select * from counters');
  /** Puts so many parked events into the outbox, each of an aggregate of its own. */
  const park = async (events: number) => {
    await database.admin(FILL, [events, events]);
    await database.admin(`update warren.outbox set parked_at = now(), aggregate = 'parked-' || aggregate`);
    await database.admin('vacuum analyze warren.outbox');
  };
  const failure = async (work: Parameters<typeof writer.units.run>[1]): Promise<Error> =>
    writer.units.run(origin, work).then(
      () => expect.fail('the transaction committed'),
      (error) => error,
    );

  it('holds an event once its transaction has committed, and wakes the relay then', async () => {
    const inside: unknown[] = [];
    const id = await writer.units.run(origin, async ({ emit }) => {
      const id = await emit(written, { noteId: NOTE, text: 'x' }, { aggregate: 'a' });
      inside.push(...(await rows()), commits);
      return id;
    });

    expect(inside, 'seen by others, and told to the relay, before the commit').to.deep.equal([0]);
    expect(commits).to.equal(1);
    const [row] = await rows();
    expect(row).to.deep.include({
      event_id: id,
      type: 'alpha.written',
      routing_key: 'alpha.written.v1',
      aggregate: 'a',
      correlation_id: 'from-the-test',
      parked_at: null,
    });
    expect(JSON.parse(row?.body as string)).to.deep.include({
      id,
      subject: 'a',
      correlationid: 'from-the-test',
    });
  });

  it('holds no event of a transaction that was rolled back', async () => {
    const error = await failure(async ({ transaction, emit }) => {
      await transaction.insertInto('counters').values({ id: 'a', n: 1 }).execute();
      await emit(written, { noteId: NOTE, text: 'x' }, { aggregate: 'a' });
      throw new Error('changed my mind');
    });

    expect(error.message).to.equal('changed my mind');
    expect(await rows()).to.have.length(0);
    expect(await counters()).to.have.length(0);
    expect(commits).to.equal(0);
  });

  it('stores the trace of the caller with the event', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    await writer.units.run({ ...origin, traceparent }, ({ emit }) =>
      emit(written, { noteId: NOTE, text: 'x' }, { aggregate: 'a' }),
    );
    const [row] = await rows();
    expect(row?.traceparent).to.equal(traceparent);
    expect(JSON.parse(row?.body as string).traceparent).to.equal(traceparent);
  });

  describe('refuses, and rolls the transaction back,', () => {
    const attempt = (emit: Parameters<typeof failure>[0]) =>
      failure(async (work) => {
        await work.transaction.insertInto('counters').values({ id: 'a', n: 1 }).execute();
        await emit(work);
      });
    afterEach(async () => {
      expect(await rows()).to.have.length(0);
      expect(await counters()).to.have.length(0);
    });

    it('an event that broker.ts does not declare', async () => {
      const foreign = defineEvent<{ x: number }>({
        type: 'beta.done',
        version: 1,
        data: { x: Joi.number() },
      });
      const error = await attempt(({ emit }) => emit(foreign, { x: 1 }, { aggregate: 'a' }));
      expect(error.message).to.contain('beta.done.v1').and.to.contain('broker.ts');
    });

    it('data that does not fit the contract', async () => {
      const error = await attempt(({ emit }) =>
        emit(written, { noteId: 'no id', text: 'x' }, { aggregate: 'a' }),
      );
      expect(error.name).to.equal('ContractError');
      expect(error.message).to.contain('noteId');
    });

    it('an event over 1 MiB', async () => {
      const text = 'ü'.repeat(MAX_EVENT_BYTES / 2); // half as many characters as bytes
      const error = await attempt(({ emit }) => emit(written, { noteId: NOTE, text }, { aggregate: 'a' }));
      expect(error.message).to.match(/alpha\.written .* has \d+ bytes; an event has at most 1048576/);
    });

    it('text that PostgreSQL cannot hold', async () => {
      // U+0000 is legal in JSON, as \u0000, and illegal in PostgreSQL's text; here it is in the aggregate.
      const error = await attempt(({ emit }) =>
        emit(written, { noteId: NOTE, text: 'x' }, { aggregate: 'a\u0000b' }),
      );
      expect(error).to.be.instanceOf(Error);
    });
  });

  it('holds all text that JSON can express: U+0000, lone surrogates and all', async () => {
    for (const text of ['a\u0000b', '\ud800', '😀', '"\\', '\u2028'])
      await writer.units.run(origin, ({ emit }) => emit(written, { noteId: NOTE, text }, { aggregate: 'a' }));
    const texts = (await rows()).map(({ body }) => JSON.parse(body).data.text);
    expect(texts).to.deep.equal(['a\u0000b', '\ud800', '😀', '"\\', '\u2028']);
  });

  it('holds an event of exactly 1 MiB', async () => {
    const emit = (text: string) =>
      writer.units.run(origin, (work) => work.emit(written, { noteId: NOTE, text }, { aggregate: 'a' }));
    await emit('x');
    const overhead = Buffer.byteLength((await rows())[0]?.body as string) - 1;
    await emit('x'.repeat(MAX_EVENT_BYTES - overhead));
    expect(Buffer.byteLength((await rows())[1]?.body as string)).to.equal(MAX_EVENT_BYTES);
  });

  it('counts pending and parked events, and the age of the oldest', async () => {
    expect(await outboxStats(writer.database.kysely)).to.deep.equal({ pending: 0, oldestAge: 0, parked: 0 });
    await database.admin(FILL, [5, 5]);
    await database.admin(`update warren.outbox set parked_at = now() where aggregate in ('a0', 'a1')`);
    await database.admin(
      `update warren.outbox set created_at = now() - interval '90 s' where aggregate = 'a2'`,
    );
    const { pending, parked, oldestAge } = await outboxStats(writer.database.kysely);
    expect({ pending, parked }).to.deep.equal({ pending: 3, parked: 2 });
    expect(oldestAge).to.be.within(90, 100);
  });

  it('counts beside many parked events without reading them', async () => {
    await park(20_000);
    await database.admin(FILL, [5, 5]);
    const { stats, read } = await writer.units.run(origin, async ({ transaction }) => ({
      stats: await outboxStats(transaction),
      read: await sql<{ rows: number }>`
        select (seq_tup_read + idx_tup_fetch)::int as rows
        from pg_stat_xact_user_tables where relid = 'warren.outbox'::regclass`.execute(transaction),
    }));
    expect(stats).to.deep.include({ pending: 5, parked: 20_000 });
    expect(read.rows[0]?.rows).to.be.below(100);
  });

  describe('with a relay', () => {
    const broker = withBroker({ services: ['alpha'] });

    it('publishes beside many parked events without reading them', async () => {
      const probe = await broker.probe('events');
      await park(20_000);
      const rowsRead = () =>
        database.admin<{ rows: number }>(
          `select (seq_tup_read + idx_tup_fetch)::int as rows
           from pg_stat_user_tables where relid = 'warren.outbox'::regclass`,
        );
      const [before] = await rowsRead();
      const relay = startRelay({ databaseUrl: database.url, brokerUrl: broker.url('alpha') });
      try {
        for (let batch = 1; batch <= 20; batch += 1) {
          await database.admin(FILL, [5, 5]);
          relay.relay.wake();
          await eventually(() => expect(probe.events).to.have.length(batch * 5));
        }
      } finally {
        await relay.stop(5_000);
      }
      // A connection reports what it has read when it ends.
      const [after] = await eventually(async () => {
        const rows = await rowsRead();
        expect(rows[0]?.rows).to.be.above((before?.rows ?? 0) + 100);
        return rows;
      });
      expect((after?.rows ?? 0) - (before?.rows ?? 0)).to.be.below(20_000);
    });

    it('empties, and every event reaches the exchange with the properties of its row', async () => {
      const probe = await broker.probe('events');
      const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
      const relay = startRelay({ databaseUrl: database.url, brokerUrl: broker.url('alpha') });
      try {
        const id = await writer.units.run({ ...origin, traceparent, correlationId: newId() }, ({ emit }) =>
          emit(written, { noteId: NOTE, text: '\ud800' }, { aggregate: 'a' }),
        );
        const [event] = await probe.waitFor({ type: 'alpha.written' });
        expect(event?.properties.messageId).to.equal(id);
        expect(event?.properties.headers?.traceparent).to.equal(traceparent);
        expect(event?.properties.correlationId).to.equal(event?.body.correlationid);
        expect(event?.body.data.text).to.equal('\ud800');
        await eventually(async () => expect(await rows()).to.have.length(0));
      } finally {
        await relay.stop(2_000);
      }
    });
  });
});
