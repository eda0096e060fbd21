import { eventually, openProxy, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { sql } from 'kysely';
import pg from 'pg';
import { findPgBouncer, type PgBouncer, startPgBouncer } from './fixtures/pgbouncer.ts';
import { FILL, openWriter, prepare, silent, startRelay } from './fixtures/relay.ts';

describe('the relay, behind PgBouncer', function () {
  this.timeout(60_000);
  const database = withDatabase();
  const broker = withBroker({ services: ['alpha'] });
  const program = findPgBouncer();
  let pool: PgBouncer | undefined;

  before(async function () {
    if (program === undefined) {
      console.log('        passed over: pgbouncer is not installed here (apt-get install pgbouncer)');
      this.skip();
    }
    await prepare(database.url);
  });
  beforeEach(() => database.admin('truncate warren.outbox'));
  afterEach(async () => {
    await pool?.stop();
    pool = undefined;
  });
  const start = async (mode: 'session' | 'transaction', size?: number) => {
    pool = await startPgBouncer(program as string, database.url, mode, size);
    return pool.url;
  };
  /** Has the pool hold some open connections to the server, and others come and go, as a service's own requests do. */
  const traffic = async (url: string) => {
    let going = true;
    const clients = await Promise.all(
      Array.from({ length: 6 }, async () => {
        const client = new pg.Client({ connectionString: url });
        client.on('error', () => {});
        await client.connect();
        return client;
      }),
    );
    const running = clients.map(async (client) => {
      while (going) await client.query('select pg_sleep(random() * 0.003)').catch(() => {});
      await client.end();
    });
    return async () => {
      going = false;
      await Promise.all(running);
    };
  };

  it('refuses transaction mode, with a sentence that says what to do', async () => {
    const relay = startRelay({ databaseUrl: await start('transaction'), brokerUrl: broker.url('alpha') });
    await eventually(() => expect(relay.fatal).to.have.length(1));
    expect(relay.fatal[0]?.message).to.equal(
      'DATABASE_URL leads to a connection pooler in transaction mode, but the outbox relay needs a session of its own: ' +
        'point DATABASE_URL at PostgreSQL itself, or at a pool in session mode',
    );
    await database.admin(FILL, [10, 1]);
    expect(relay.relay.active).to.equal(false);
    await relay.stop();
    expect(await database.admin('select 1 from warren.outbox'), 'unpublished').to.have.length(10);
  });

  it('refuses transaction mode under load, too, ten times of ten', async () => {
    const url = await start('transaction');
    const end = await traffic(url);
    for (let i = 0; i < 10; i += 1) {
      const relay = startRelay({ databaseUrl: url, brokerUrl: broker.url('alpha') });
      await eventually(() => relay.fatal.length > 0 || relay.relay.active);
      await relay.stop();
      expect(relay.fatal.map(({ name }) => name)).to.deep.equal(['PoolerError']);
    }
    await end();
  });

  it('refuses transaction mode when the pool has a single connection', async () => {
    const relay = startRelay({ databaseUrl: await start('transaction', 1), brokerUrl: broker.url('alpha') });
    await eventually(() => expect(relay.fatal.map(({ name }) => name)).to.deep.equal(['PoolerError']), {
      timeout: 20_000,
    });
    await relay.stop();
  });

  it('works in session mode, and without a pooler', async () => {
    const url = await start('session');
    const end = await traffic(url);
    const line = await openProxy(database.url);
    for (const databaseUrl of [url, line.url]) {
      await database.admin(FILL, [100, 10]);
      const relay = startRelay({ databaseUrl, brokerUrl: broker.url('alpha') });
      await eventually(async () =>
        expect(await database.admin('select 1 from warren.outbox')).to.have.length(0),
      );
      expect(relay.fatal).to.deep.equal([]);
      await relay.stop();
    }
    await line.close();
    await end();
  });

  it('leaves a cancelled transaction cancelled, in session mode', async () => {
    const writer = await openWriter(await start('session'));
    const aborting = new AbortController();
    const failed = writer.units
      .run({ correlationId: 'x', log: silent, signal: aborting.signal }, ({ transaction }) =>
        sql`select pg_sleep(20)`.execute(transaction),
      )
      .catch((error) => error);
    await eventually(async () =>
      expect(
        await database.admin(
          `select 1 from pg_stat_activity where query = 'select pg_sleep(20)' and state = 'active'`,
        ),
      ).to.have.length(1),
    );
    const since = performance.now();
    aborting.abort(new Error('enough'));
    expect((await failed).message).to.equal('enough');
    expect(performance.now() - since).to.be.below(10_000);
    expect(writer.database.stats(), 'its connection is kept').to.deep.include({ total: 1 });
    await writer.close();
  });
});
