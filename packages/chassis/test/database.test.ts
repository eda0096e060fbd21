import { eventually, openProxy, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { sql } from 'kysely';
import pg from 'pg';
import { isDatabaseUnavailable } from '../src/database/outage.ts';
import { openWriter, prepare, silent, type Writer } from './fixtures/relay.ts';

describe('a transaction', function () {
  this.timeout(30_000);
  const database = withDatabase();
  let writer: Writer;

  before(() => prepare(database.url));
  beforeEach(async () => {
    await database.admin('truncate counters');
    writer = await openWriter(database.url, { connections: 2 });
  });
  afterEach(() => writer.close());

  const run = <T>(work: Parameters<typeof writer.units.run<T>>[1], signal?: AbortSignal) =>
    writer.units.run<T>(
      { correlationId: 'test', log: silent, ...(signal !== undefined && { signal }) },
      work,
    );
  const counters = async () =>
    (await database.admin<{ id: string }>('select id from counters order by id')).map(({ id }) => id);
  const reasonOf = (promise: Promise<unknown>) =>
    promise.then(
      () => expect.fail('it was done'),
      (error) => error,
    );
  /** Rejected with the reason, how long after the abort, and by what the connection was found afterwards. */
  const abortDuring = async (work: Parameters<typeof run>[0], when: () => Promise<unknown>) => {
    const aborting = new AbortController();
    const failed = reasonOf(run(work, aborting.signal));
    await when();
    const since = performance.now();
    const reason = new Error('enough');
    aborting.abort(reason);
    expect(await failed).to.equal(reason);
    return performance.now() - since;
  };
  const activity = (state: string, query: string) =>
    eventually(async () => {
      const rows = await database.admin(
        'select 1 from pg_stat_activity where datname = current_database() and application_name = $1 and state = $2 and query like $3',
        ['writer', state, query],
      );
      expect(rows).to.have.length.above(0);
    });

  describe('whose signal aborts', () => {
    it('has its running statement cancelled at once, and is rolled back', async () => {
      const took = await abortDuring(
        async ({ transaction }) => {
          await transaction.insertInto('counters').values({ id: 'a', n: 1 }).execute();
          await sql`select pg_sleep(20)`.execute(transaction);
        },
        () => activity('active', 'select pg_sleep%'),
      );
      console.log(`        ${Math.round(took)} ms after the abort`);
      expect(took).to.be.below(5_000);
      expect(await counters()).to.deep.equal([]);
      expect(writer.database.stats(), 'its connection is kept').to.deep.include({ total: 1, idle: 1 });
      await run(({ transaction }) =>
        transaction.insertInto('counters').values({ id: 'next', n: 1 }).execute(),
      );
      expect(await counters()).to.deep.equal(['next']);
    });

    it('need not wait for a lock any longer', async () => {
      const other = new pg.Client({ connectionString: database.adminUrl });
      await other.connect();
      try {
        await other.query('begin; lock table counters');
        const took = await abortDuring(
          ({ transaction }) => transaction.insertInto('counters').values({ id: 'a', n: 1 }).execute(),
          () => activity('active', 'insert into%'),
        );
        expect(took).to.be.below(5_000);
      } finally {
        await other.end();
      }
      expect(await counters()).to.deep.equal([]);
    });

    it('can be cancelled though every connection of the pool is in use', async () => {
      const holding = run(({ transaction }) => sql`select pg_sleep(8)`.execute(transaction));
      const took = await abortDuring(
        ({ transaction }) => sql`select pg_sleep(21)`.execute(transaction),
        async () => {
          await activity('active', 'select pg_sleep(21)');
          expect(writer.database.stats()).to.deep.include({ total: 2, idle: 0 });
        },
      );
      expect(took).to.be.below(5_000);
      await holding;
    });

    it('can be cancelled though the server takes no more connections', async () => {
      const role = new URL(database.url).username;
      const aborting = new AbortController();
      const failed = reasonOf(
        run(({ transaction }) => sql`select pg_sleep(22)`.execute(transaction), aborting.signal),
      );
      await activity('active', 'select pg_sleep(22)');
      await database.admin(`alter role "${role}" connection limit 1`);
      try {
        const since = performance.now();
        aborting.abort(new Error('enough'));
        expect((await failed).message).to.equal('enough');
        expect(performance.now() - since).to.be.below(5_000);
      } finally {
        await database.admin(`alter role "${role}" connection limit -1`);
      }
    });

    it('stops waiting for a connection at once', async () => {
      let release = () => {};
      const released = new Promise<void>((resolve) => {
        release = resolve;
      });
      const holding = [1, 2].map(() => run(() => released));
      await eventually(() => expect(writer.database.stats()).to.deep.include({ total: 2, idle: 0 }));
      let begun = false;
      const took = await abortDuring(
        async () => {
          begun = true;
        },
        () => eventually(() => expect(writer.database.stats().waiting).to.equal(1)),
      );
      expect(took).to.be.below(5_000);
      release();
      await Promise.all(holding);
      expect(begun).to.equal(false);
      await eventually(() =>
        expect(writer.database.stats(), 'none is lost').to.deep.equal({ total: 2, idle: 2, waiting: 0 }),
      );
    });

    it('does nothing of what comes after it, neither inside nor outside the transaction', async () => {
      const aborting = new AbortController();
      const late: unknown[] = [];
      const failed = reasonOf(
        run(async ({ transaction, emit: _ }) => {
          await transaction.insertInto('counters').values({ id: 'before', n: 1 }).execute();
          aborting.abort(new Error('enough'));
          for (const id of ['after 1', 'after 2'])
            await transaction
              .insertInto('counters')
              .values({ id, n: 1 })
              .execute()
              .catch((error) => late.push(error.message));
          await sql`insert into counters values ('after 3', 1)`
            .execute(transaction)
            .catch((error) => late.push(error.message));
        }, aborting.signal),
      );
      expect((await failed).message).to.equal('enough');
      expect(late).to.deep.equal(['enough', 'enough', 'enough']);
      expect(await counters()).to.deep.equal([]);
    });

    it('is given up after two seconds when its work waits for something else', async () => {
      const took = await abortDuring(
        async ({ transaction }) => {
          await transaction.insertInto('counters').values({ id: 'a', n: 1 }).execute();
          await new Promise(() => {});
        },
        () => activity('idle in transaction', 'insert%'),
      );
      expect(took).to.be.below(4_000);
      expect(await counters()).to.deep.equal([]);
      await eventually(async () =>
        expect(
          await database.admin(`select 1 from pg_locks where relation = 'counters'::regclass`),
        ).to.have.length(0),
      );
    });

    it('does not begin when it has aborted before', async () => {
      let begun = false;
      const failed = reasonOf(
        run(
          async () => {
            begun = true;
          },
          AbortSignal.abort(new Error('enough')),
        ),
      );
      expect((await failed).message).to.equal('enough');
      expect(begun).to.equal(false);
    });

    it('harms no one else: a thousand aborts at random moments leave every other transaction whole', async () => {
      let wrong: unknown;
      const bystanders = Array.from({ length: 300 }, (_, i) =>
        run(async ({ transaction }) => {
          await transaction
            .insertInto('counters')
            .values({ id: `kept ${i}`, n: 1 })
            .execute();
          await sql`select pg_sleep(0.001)`.execute(transaction);
        }).catch((error) => {
          wrong ??= error;
        }),
      );
      const aborted = Array.from({ length: 1_000 }, async (_, i) => {
        const signal = AbortSignal.timeout(1 + ((i * 7) % 400));
        await run(async ({ transaction }) => {
          await transaction
            .insertInto('counters')
            .values({ id: `gone ${i}`, n: 1 })
            .execute();
          await sql`select pg_sleep(0.002)`.execute(transaction);
          // Never commits.
          await new Promise((_, reject) => {
            if (signal.aborted) reject(signal.reason);
            signal.addEventListener('abort', () => reject(signal.reason));
          });
        }, signal).catch(() => {});
      });
      await Promise.all([...bystanders, ...aborted]);
      expect(wrong).to.equal(undefined);
      const ids = await counters();
      expect(ids.filter((id) => id.startsWith('kept'))).to.have.length(300);
      expect(ids.filter((id) => id.startsWith('gone'))).to.have.length(0);
    });
  });

  describe('that has ended', () => {
    it('runs no statement that somebody forgot to wait for', async () => {
      const late = Promise.withResolvers<unknown>();
      await run(async ({ transaction }) => {
        await sql`select 1`.execute(transaction);
        setImmediate(() =>
          late.resolve(reasonOf(sql`insert into counters values ('late', 1)`.execute(transaction))),
        );
      });
      expect(await late.promise).to.be.instanceOf(Error);
      expect(await counters()).to.deep.equal([]);
    });

    it('has no statement sent after its end', async () => {
      // Many, since it is a race: not awaited, the statement is either part of the transaction or refused.
      await database.admin(
        `create table if not exists seen (id text, transaction bigint default txid_current())`,
      );
      await database.admin(`grant all on seen to public`);
      for (let i = 0; i < 50; i += 1) {
        await run(async ({ transaction }) => {
          await sql`insert into seen values (${String(i)})`.execute(transaction);
          for (let hop = 0; hop < i % 10; hop += 1) await null;
          sql`insert into seen values (${String(i)})`.execute(transaction).catch(() => {});
          for (let hop = 0; hop < i % 7; hop += 1) await null;
        });
      }
      await run(({ transaction }) => sql`select 1`.execute(transaction));
      const apart = await database.admin(
        'select id from seen group by id having count(distinct transaction) > 1',
      );
      expect(apart, 'autocommitted').to.deep.equal([]);
    });
  });

  describe('that loses against another one', () => {
    it('is tried again after a deadlock', async () => {
      await database.admin(`insert into counters values ('a', 0), ('b', 0)`);
      let attempts = 0;
      let locked = 0;
      const { promise: bothHaveOne, resolve } = Promise.withResolvers<void>();
      const both = (first: string, second: string) =>
        run(async ({ transaction }) => {
          attempts += 1;
          const add = (id: string) =>
            sql`update counters set n = n + 1 where id = ${id}`.execute(transaction);
          await add(first);
          locked += 1;
          if (locked === 2) resolve();
          await bothHaveOne;
          await add(second);
        });
      await Promise.all([both('a', 'b'), both('b', 'a')]);
      expect(attempts).to.equal(3);
      expect(await database.admin('select sum(n)::int as n from counters')).to.deep.equal([{ n: 4 }]);
    });

    it('is tried again after a serialization failure, three times in all, and then tells', async () => {
      let attempts = 0;
      const error = await reasonOf(
        run(async ({ transaction }) => {
          attempts += 1;
          await sql`do $$ begin raise exception 'lost' using errcode = '40001'; end $$`.execute(transaction);
        }),
      );
      expect(attempts).to.equal(3);
      expect(error).to.deep.include({ code: '40001' });
    });

    it('is not tried again for any other error', async () => {
      let attempts = 0;
      await reasonOf(
        run(async ({ transaction }) => {
          attempts += 1;
          await sql`select 1 / 0`.execute(transaction);
        }),
      );
      expect(attempts).to.equal(1);
    });
  });

  describe('on a database that goes away', () => {
    it('fails as unavailable when its backend is terminated, and the next one works', async () => {
      const failed = reasonOf(run(({ transaction }) => sql`select pg_sleep(23)`.execute(transaction)));
      await activity('active', 'select pg_sleep(23)');
      await database.admin(
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'writer' and datname = current_database()`,
      );
      expect(isDatabaseUnavailable(await failed)).to.equal(true);
      await run(({ transaction }) =>
        transaction.insertInto('counters').values({ id: 'next', n: 1 }).execute(),
      );
    });

    it('fails as unavailable when it is terminated between two statements', async () => {
      const error = await reasonOf(
        run(async ({ transaction }) => {
          await transaction.insertInto('counters').values({ id: 'a', n: 1 }).execute();
          await database.admin(
            `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'writer' and datname = current_database()`,
          );
          await new Promise((resolve) => setTimeout(resolve, 50));
          await transaction.insertInto('counters').values({ id: 'b', n: 1 }).execute();
        }),
      );
      expect(isDatabaseUnavailable(error), error.message).to.equal(true);
      await run(({ transaction }) =>
        transaction.insertInto('counters').values({ id: 'next', n: 1 }).execute(),
      );
      expect(await counters()).to.deep.equal(['next']);
    });

    it('fails as unavailable where nothing listens', async () => {
      const line = await openProxy(database.url);
      await line.close();
      const away = await openWriter(line.url);
      const error = await reasonOf(away.units.run({ correlationId: 'x', log: silent }, async () => {}));
      expect(isDatabaseUnavailable(error)).to.equal(true);
      await away.close();
    });

    it('gives up at its deadline though nothing answers', async () => {
      const line = await openProxy(database.url);
      const behind = await openWriter(line.url);
      try {
        const aborting = new AbortController();
        const failed = reasonOf(
          behind.units.run(
            { correlationId: 'x', log: silent, signal: aborting.signal },
            async ({ transaction }) => {
              await sql`select 1`.execute(transaction);
              line.stall();
              await sql`select 2`.execute(transaction);
            },
          ),
        );
        await new Promise((resolve) => setTimeout(resolve, 300));
        const since = performance.now();
        aborting.abort(new Error('enough'));
        expect((await failed).message).to.equal('enough');
        const took = performance.now() - since;
        console.log(`        ${Math.round(took)} ms after the abort, on a line that has gone silent`);
        expect(took).to.be.below(12_000);
        expect(behind.database.stats(), 'the dead connection is not kept').to.deep.include({ total: 0 });
      } finally {
        await line.close();
        await behind.close();
      }
    });
  });
});
