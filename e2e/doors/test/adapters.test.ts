import { pgAdapter } from '@warren/chassis/adapters/pg';
import { migrate } from '@warren/chassis/migrations';
import { createOutbox, type Query, type TransactionalOutbox, WarrenError } from '@warren/chassis/outbox';
import { pendingEvents } from '@warren/chassis/testing';
import { withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import pg from 'pg';
import { type Candidate, candidates } from './fixtures/candidates.ts';
import {
  publications,
  THINGS,
  type ThingSaved,
  thingCounted,
  thingForgotten,
  thingSaved,
} from './fixtures/things.ts';

/** What drivers change if they can: quotes, backslashes, placeholders of each of them, and characters beyond one UTF-16 unit. */
const AWKWARD = 'a \'quote\' and "another", \\ \\n \u0000 \u2028 $1 ? ?? :name @p 🐇 ł {a,b} [1]';

for (const [name, open] of Object.entries(candidates))
  describe(`the adapter of ${name}`, function () {
    this.timeout(30_000);
    let candidate: Candidate<unknown>;
    after(() => candidate?.close());
    const database = withDatabase();
    let outbox: TransactionalOutbox<unknown>;
    let wakes = 0;

    before(async () => {
      await migrate(database.url);
      await database.admin(`${THINGS}; grant all on things to public`);
      candidate = (await open(database.url)) as Candidate<unknown>;
      const relay = { wake: () => void wakes++ };
      outbox = createOutbox({ service: 'thing', publications, adapter: candidate.adapter, relay });
    });
    beforeEach(async () => {
      await database.admin('truncate things, warren.outbox');
      wakes = 0;
    });

    const events = () => pendingEvents((text, values) => database.admin(text, [...values]));
    const ids = async () =>
      (await database.admin<{ id: string }>('select id from things')).map(({ id }) => id);
    const subjects = async () => (await events()).map(({ subject }) => subject);
    const saveAndEmit = async (handle: unknown, id: string, text = 'a name') => {
      await candidate.save(handle, id, text);
      return outbox.emit(handle, thingSaved, { thingId: id, name: text }, { aggregate: id });
    };
    const rejection = (promise: Promise<unknown>): Promise<Error & { code?: string }> =>
      promise.then(
        () => expect.fail('it was fulfilled'),
        (error) => error,
      );

    it('commits a row and its event together, and wakes the relay', async () => {
      let wakesInside = -1;
      const eventId = await outbox.transaction(async (handle) => {
        const id = await saveAndEmit(handle, 'one');
        wakesInside = wakes;
        return id;
      });
      expect([wakesInside, wakes]).to.deep.equal([0, 1]);
      expect(await ids()).to.deep.equal(['one']);
      const [event] = await events();
      expect(event).to.include({ id: eventId, type: 'thing.saved', source: '/thing', subject: 'one' });
    });

    it('passes every character of an event on as it is', async () => {
      const data = { thingId: 'awkward', name: AWKWARD };
      await outbox.transaction((handle) =>
        outbox.emit(handle, thingSaved, data, {
          aggregate: "o'ne $2 ?",
          correlationId: 'c $1',
          causationId: '?',
        }),
      );
      const [row] = await database.admin('select body, aggregate, correlation_id from warren.outbox');
      const event = JSON.parse(row?.body as string);
      expect(event.data).to.deep.equal(data);
      expect(row?.body).to.equal(JSON.stringify(event));
      expect(row).to.include({ aggregate: "o'ne $2 ?", correlation_id: 'c $1' });
      expect(event).to.include({ correlationid: 'c $1', causationid: '?' });
    });

    it('rolls both back when the transaction fails, and rejects with its error', async () => {
      const reason = new Error('no');
      const error = await rejection(
        outbox.transaction(async (handle) => {
          await saveAndEmit(handle, 'one');
          throw reason;
        }),
      );
      expect(error).to.equal(reason);
      expect([await ids(), await subjects(), wakes]).to.deep.equal([[], [], 0]);
    });

    it('rolls back what a nested transaction wrote, and keeps the rest', async () => {
      await candidate.begin(async (handle) => {
        await saveAndEmit(handle, 'outer');
        const failing = candidate.nested(handle, async (inner) => {
          await saveAndEmit(inner, 'inner');
          throw new Error('no');
        });
        await rejection(failing);
        await candidate.nested(handle, async (inner) => void (await saveAndEmit(inner, 'second')));
      });
      expect([await ids(), await subjects()]).to.deep.equal([
        ['outer', 'second'],
        ['outer', 'second'],
      ]);
    });

    it('writes nothing when a statement fails after an event was emitted', async () => {
      const failures: Error[] = [];
      await rejection(
        outbox.transaction(async (handle) => {
          await saveAndEmit(handle, 'one');
          failures.push(await rejection(Promise.resolve(candidate.save(handle, 'one', 'the same key'))));
          failures.push(await rejection(saveAndEmit(handle, 'two')));
          throw failures[0];
        }),
      );
      expect(failures).to.have.length(2);
      expect([await ids(), await subjects()]).to.deep.equal([[], []]);
    });

    it('refuses a handle whose transaction has ended', async () => {
      const handles: unknown[] = [];
      await candidate.begin(async (handle) => {
        handles.push(handle);
        await saveAndEmit(handle, 'one');
      });
      await outbox.transaction(async (handle) => {
        handles.push(handle);
        await saveAndEmit(handle, 'two');
      });
      for (const handle of handles)
        await rejection(outbox.emit(handle, thingCounted, { count: 1 }, { aggregate: 'late' }));
      expect(await subjects()).to.deep.equal(['one', 'two']);
    });

    it('refuses a handle that is in no transaction', async () => {
      const error = await rejection(
        outbox.emit(candidate.outside, thingCounted, { count: 1 }, { aggregate: 'outside' }),
      );

      expect(error).to.be.instanceOf(WarrenError).and.include({ code: 'transaction_missing' });
      expect(error.message).to.match(/pass the one of the transaction \(tx\)/);
      expect(await subjects()).to.deep.equal([]);
    });

    it('writes many events by one statement, in their order', async () => {
      const many = Array.from({ length: 1_000 }, (_, n) => ({
        event: thingSaved,
        data: { thingId: `${n}`, name: 'many' },
        aggregate: `${n}`,
      }));
      const [ids] = await Promise.all([candidate.begin((handle) => outbox.emitAll(handle, many))]);
      expect((await events()).map(({ id }) => id)).to.deep.equal(ids);
      expect(await subjects()).to.deep.equal(many.map(({ aggregate }) => aggregate));
    });

    it('returns the rows that a statement returns', async () => {
      await candidate.begin(async (handle) => {
        const query = candidate.adapter.query(handle);
        expect(
          await query('insert into things values ($1, $2), ($3, $2) returning id', ['a', 'b', 'c']),
        ).to.deep.equal([{ id: 'a' }, { id: 'c' }]);
        expect(
          await query('select id, name from things where id = $2 and name = $1', ['b', 'c']),
        ).to.deep.equal([{ id: 'c', name: 'b' }]);
        expect(
          await query('update things set name = $1 where id = $2 returning name', ['d', 'c']),
        ).to.deep.equal([{ name: 'd' }]);
        expect(
          await query('delete from things where name = any($1::text[]) returning id', ['{b,d}']),
        ).to.have.length(2);
        expect(await query('delete from things', [])).to.deep.equal([]);
        expect(await query('select id from things', [])).to.deep.equal([]);
      });
    });
  });

describe('the adapter of pg, whose handler ignores an error', function () {
  this.timeout(30_000);
  const database = withDatabase();

  it('rejects, because PostgreSQL commits nothing then', async () => {
    await database.admin(`${THINGS}; grant all on things to public`);
    const pool = new pg.Pool({ connectionString: database.url });
    const committing = pgAdapter(pool).transaction(async (client) => {
      await client.query("insert into things values ('one', 'a name')");
      await client.query("insert into things values ('one', 'the same key')").catch(() => {});
    });
    const error = await committing
      .then(
        () => expect.fail('it was fulfilled'),
        (error) => error as Error,
      )
      .finally(() => pool.end());
    expect(error.message).to.match(/^nothing was committed/);
    expect(await database.admin('select * from things')).to.deep.equal([]);
  });
});

describe('an outbox', function () {
  this.timeout(30_000);
  const database = withDatabase();
  const outbox = createOutbox({ service: 'thing', publications });

  const unused: Query = () => expect.fail('it sent a statement');
  const refusal = async (emitting: () => Promise<unknown>): Promise<Error & { code?: string }> =>
    emitting().then(
      () => expect.fail('it was emitted'),
      (error) => error,
    );
  const data: ThingSaved = { thingId: 'one', name: 'a name' };

  it('names the migrations when its table is missing', async () => {
    const pool = new pg.Pool({ connectionString: database.url });
    const adapter = pgAdapter(pool);
    const error = await refusal(() =>
      adapter.transaction((client) =>
        outbox.emit(adapter.query(client), thingSaved, data, { aggregate: 'one' }),
      ),
    ).finally(() => pool.end());
    expect(error).to.include({ code: 'schema_missing' });
    expect(error.message).to.match(/npx warren-migrate/);
  });

  it('refuses an event that it does not declare, before any statement', async () => {
    const error = await refusal(() =>
      outbox.emit(unused, thingForgotten, { thingId: '1' }, { aggregate: '1' }),
    );
    expect(error).to.include({ code: 'event_refused' });
    expect(error.message).to.match(/^thing\.forgotten\.v1 .* createOutbox/);
  });

  it('refuses data that does not match the schema, and names the field', async () => {
    const wrong = { thingId: 'one' } as ThingSaved;
    const error = await refusal(() => outbox.emit(unused, thingSaved, wrong, { aggregate: 'one' }));
    expect(error).to.include({ code: 'invalid_data', field: 'data.name' });
  });

  it('emits all of several events or none', async () => {
    const error = await refusal(() =>
      outbox.emitAll(unused, [
        { event: thingSaved, data, aggregate: 'one' },
        { event: thingCounted, data: { count: 'many' as unknown as number }, aggregate: 'one' },
      ]),
    );
    expect(error).to.include({ code: 'invalid_data', field: 'data.count' });
  });

  it('refuses an event without an aggregate, and a handle that is none', async () => {
    expect((await refusal(() => outbox.emit(unused, thingSaved, data, { aggregate: '' }))).message).to.match(
      /aggregate/,
    );
    const handle = undefined as unknown as Query;
    expect(await refusal(() => outbox.emit(handle, thingSaved, data, { aggregate: 'one' }))).to.include({
      code: 'transaction_missing',
    });
    const client = { query: () => {} } as unknown as Query;
    expect(
      (await refusal(() => outbox.emit(client, thingSaved, data, { aggregate: 'one' }))).message,
    ).to.match(/pass createOutbox an adapter/);
  });

  it('refuses publications of another service', () => {
    expect(() => createOutbox({ service: 'other', publications })).to.throw(
      /thing\.saved\.v1 belongs to the service 'thing'/,
    );
  });
});
