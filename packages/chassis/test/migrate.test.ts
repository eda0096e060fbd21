import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { eventually, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import pg from 'pg';
import { migrate } from '../src/database/migrate.ts';
import { CHASSIS_MIGRATIONS, recordedLog, silent } from './fixtures/relay.ts';

describe('migrations', function () {
  this.timeout(30_000);
  const database = withDatabase();
  let root: string;
  let url: string;
  let directory: string;
  let number = 0;

  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'warren-migrations-'));
  });
  after(() => rm(root, { recursive: true, force: true }));
  beforeEach(async () => {
    url = await database.another();
    directory = join(root, String(number++));
    await mkdir(directory);
  });

  const write = (name: string, sql: string) => writeFile(join(directory, name), sql);
  const set = () => ({ name: 'alpha', directory: pathToFileURL(`${directory}/`) });
  const run = (log = silent, signal?: AbortSignal) => migrate(url, [set()], log, signal);
  const query = async <R extends object>(sql: string): Promise<R[]> => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      return (await client.query<R>(sql)).rows;
    } finally {
      await client.end();
    }
  };
  const applied = async () =>
    (await query<{ name: string }>('select name from warren.migrations order by applied_at, name')).map(
      ({ name }) => name,
    );

  it('are each applied once, in the order of their numbers, though replicas start together', async () => {
    await write(
      '001_steps.sql',
      'create table steps (n int generated always as identity, name text); select pg_sleep(0.2);',
    );
    for (const name of ['010', '002', '999', '1000', '1001'])
      await write(`${name}_step.sql`, `insert into steps (name) values ('${name}');`);

    await Promise.all(Array.from({ length: 5 }, () => run()));

    const steps = await query<{ name: string }>('select name from steps order by n');
    expect(steps.map(({ name }) => name)).to.deep.equal(['002', '010', '999', '1000', '1001']);
    expect(await applied()).to.have.length(6);
    await run();
    expect(await query('select 1 from steps')).to.have.length(5);
  });

  it('make the tables of the chassis', async () => {
    const chassis = { name: 'chassis', directory: CHASSIS_MIGRATIONS };
    await Promise.all(Array.from({ length: 5 }, () => migrate(url, [chassis], silent)));
    const tables = await query<{ name: string }>(
      `select tablename as name from pg_tables where schemaname = 'warren'`,
    );
    expect(tables.map(({ name }) => name)).to.include.members(['outbox', 'inbox', 'tasks', 'migrations']);
  });

  it('keep nothing of a file that fails, name it, and go on from there once it is mended', async () => {
    await write('001_good.sql', 'create table good ();');
    await write('002_bad.sql', 'create table half (); insert into half values (1);');
    await write('003_later.sql', 'create table later ();');

    const error = await run().then(
      () => expect.fail('it was applied'),
      (error) => error,
    );

    expect(error.message).to.contain('alpha/002_bad.sql');
    expect(error.cause).to.be.instanceOf(Error);
    const tables = `select tablename as name from pg_tables where schemaname = 'public' order by 1`;
    expect(await query(tables)).to.deep.equal([{ name: 'good' }]);
    expect(await applied()).to.deep.equal(['001_good.sql']);

    await write('002_bad.sql', 'create table whole ();');
    await run();
    expect(await query(tables)).to.deep.equal([{ name: 'good' }, { name: 'later' }, { name: 'whole' }]);
  });

  it('let an older version start against a newer schema', async () => {
    await write('001_old.sql', 'create table old ();');
    await write('002_new.sql', 'create table new ();');
    await run();
    await rm(join(directory, '002_new.sql'));
    const { log, lines } = recordedLog();
    await run(log);
    expect(lines.map(({ msg }) => msg)).to.include(
      'the database schema is newer than this version; continuing',
    );
    expect(await applied()).to.have.length(2);
  });

  it('of two sets do not mix up files of one name', async () => {
    await write('001_same.sql', 'create table if not exists same (n int); insert into same values (1);');
    await migrate(url, [set(), { ...set(), name: 'beta' }], silent);
    expect(await query('select 1 from same')).to.have.length(2);
  });

  it('refuse a name that has no number', async () => {
    await write('users.sql', 'select 1;');
    expect((await run().catch((error) => error)).message)
      .to.contain('users.sql')
      .and.to.contain('001_users.sql');
  });

  it('of one replica do not begin while another one is at it, and it may be told to stop waiting', async () => {
    await write('001_a.sql', 'create table a ();');
    const holder = new pg.Client({ connectionString: url });
    await holder.connect();
    await holder.query(`select pg_advisory_lock(hashtextextended('warren.migrations', 0))`);
    try {
      const { log, lines } = recordedLog();
      const stopping = new AbortController();
      const waiting = run(log, stopping.signal).catch((error) => error);
      await eventually(() =>
        expect(lines.map(({ msg }) => msg)).to.deep.equal([
          'another replica is migrating the database; waiting',
        ]),
      );
      stopping.abort();
      expect((await waiting).name).to.equal('AbortError');
      expect(await query(`select 1 from pg_tables where tablename = 'a'`)).to.have.length(0);
    } finally {
      await holder.end();
    }
    await run();
    expect(await applied()).to.deep.equal(['001_a.sql']);
  });

  it('give way to a transaction that waits for them: it is not ended, and they are repeated', async () => {
    await write('001_tables.sql', 'create table first (n int); create table second (n int);');
    await run();
    await write('002_both.sql', 'alter table first add column m int; alter table second add column m int;');
    const holder = new pg.Client({ connectionString: url });
    await holder.connect();
    try {
      await holder.query('begin; insert into second values (1)');
      const { log, lines } = recordedLog();
      const migrating = run(log);
      // It has locked the first table, and waits for the second.
      await eventually(
        async () =>
          expect(
            await query(
              `select from pg_locks where relation = 'second'::regclass and mode = 'AccessExclusiveLock' and not granted`,
            ),
          ).to.have.length(1),
        { timeout: 20_000 },
      );
      await holder.query('insert into first values (1); commit');
      await migrating;
      expect(lines.map(({ msg }) => msg)).to.include('a migration waits for running transactions; retrying');
    } finally {
      await holder.end();
    }
    expect(await query('select n from first')).to.deep.equal([{ n: 1 }]);
    expect(await applied()).to.deep.equal(['001_tables.sql', '002_both.sql']);
  });

  it('wait for no snapshot: another replica that waits does not hold up an index made concurrently', async () => {
    // A session that waits inside pg_advisory_lock would hold one.
    await write('001_a.sql', 'create table a (n int);');
    await run();
    const holder = new pg.Client({ connectionString: url });
    await holder.connect();
    try {
      await holder.query(`select pg_advisory_lock(hashtextextended('warren.migrations', 0))`);
      const waiting = run();
      await eventually(async () =>
        expect(
          await query(
            `select 1 from pg_stat_activity where application_name = 'migrations' and datname = current_database()`,
          ),
        ).to.have.length(1),
      );
      await holder.query('create index concurrently on a (n)');
      await holder.query('select pg_advisory_unlock_all()');
      await waiting;
    } finally {
      await holder.end();
    }
  });
});
