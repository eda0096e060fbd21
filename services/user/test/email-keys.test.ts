import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { newId } from '@warren/chassis';
import {
  client,
  eventually,
  freePorts,
  type RunningProcess,
  startProcess,
  withBroker,
  withDatabase,
} from '@warren/testkit';
import { expect } from 'chai';

/** A sign-up that ends once somebody waits for it. */
const signUpUntilAwaited = (end: 'commit' | 'rollback') => `
  begin;
  set local statement_timeout = '30s';
  insert into users values ('${randomUUID()}', 'Eve', 'ada@xn--exmple-cua.de', 'ada@xn--exmple-cua.de', now());
  select pg_advisory_xact_lock(46);
  do $$ begin
    while not exists (select from pg_locks where not granted and pg_backend_pid() = any(pg_blocking_pids(pid))) loop
      perform pg_sleep(0.02);
    end loop;
  end $$;
  ${end}`;
const SIGN_UP_HOLDS_KEY = `select from pg_locks where locktype = 'advisory' and objid = 46 and granted
  and database = (select oid from pg_database where datname = current_database())`;

describe('e-mail keys from before UTS #46', function () {
  this.timeout(60_000);
  const broker = withBroker({ services: ['user'] });
  const database = withDatabase();
  let user: RunningProcess | undefined;
  let url: string;

  /** Starts the service; its log is read. */
  const launch = async () => {
    const [port, adminPort] = await freePorts(2);
    url = `http://127.0.0.1:${port}`;
    user = startProcess({
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      env: { PORT: port, ADMIN_PORT: adminPort, AMQP_URL: broker.url('user'), DATABASE_URL: database.url },
    });
    await user.ready();
  };
  const tasks = () =>
    database.admin<{ due: number }>(
      'select extract(epoch from due_at - now())::float8 as due from warren.tasks',
    );
  /** Recomputes now what is due later. */
  const hurry = () => database.admin('update warren.tasks set due_at = now()');
  const recomputed = () => eventually(async () => expect(await tasks()).to.deep.equal([]));
  const keyOf = async (id: string) =>
    (await database.admin<{ key: string }>('select email_key as key from users where id = $1', [id]))[0]?.key;
  const logged = (code: string) => user?.logs.filter((line) => line.code === code) ?? [];

  /** An account with the key that its address had before. */
  const account = async (email: string) => {
    const id = newId();
    await database.admin(`insert into users values ($1, 'Ada', $2, lower($2), now())`, [id, email]);
    return id;
  };
  /** The database as it was before the migration. */
  const undoMigration = async () => {
    await database.admin(
      `delete from warren.migrations where set = 'user' and name = '002_recompute_email_keys.sql'`,
    );
    await database.admin('truncate users, warren.tasks');
  };

  before(async () => {
    await launch();
    await user?.kill();
  });
  beforeEach(undoMigration);
  afterEach(() => user?.kill());

  it('leave no task in a database without accounts', async () => {
    await launch();
    expect(await tasks()).to.deep.equal([]);
  });

  it('are recomputed an hour after the migration, when replicas that write them are gone', async () => {
    const id = await account('ada@exämple.de');
    await launch();
    const [task] = await tasks();
    expect(task?.due).to.be.within(3_500, 3_600);
    expect(await keyOf(id)).to.equal('ada@exämple.de');
    expect((await client(url).post('/users', { name: 'Eve', email: 'ada@exämple.de' })).status).to.equal(409);
  });

  it('are recomputed, so that another spelling of the address is taken', async () => {
    const id = await account('Ada@exämple.de');
    const ascii = await account('eve@example.com');
    await launch();
    await hurry();
    await recomputed();
    expect(await keyOf(id)).to.equal('ada@xn--exmple-cua.de');
    expect(await keyOf(ascii)).to.equal('eve@example.com');
    for (const email of ['ada@exämple.de', 'ada@xn--exmple-cua.de', 'ada@ｅｘämple.de'])
      expect((await client(url).post('/users', { name: 'Eve', email })).status, email).to.equal(409);
    expect((await client(url).get(`/users/${id}`)).body.email).to.equal('Ada@exämple.de');
  });

  it('are kept when accounts collide, and their ids are logged without the address', async () => {
    const umlaut = await account('ada@exämple.de');
    const ascii = await account('ada@xn--exmple-cua.de');
    const wide = await account('ada@ｅｘämple.de');
    const first = await account('eve@bücher.example');
    const second = await account('eve@ｂücher.example');
    await launch();
    await hurry();
    await recomputed();
    const keys = await Promise.all([umlaut, ascii, wide, first, second].map(keyOf));
    expect(keys).to.deep.equal([
      'ada@exämple.de',
      'ada@xn--exmple-cua.de',
      'ada@ｅｘämple.de',
      'eve@xn--bcher-kva.example',
      'eve@ｂücher.example',
    ]);
    const collisions = await eventually(() => {
      expect(logged('email_key_taken')).to.have.length(3);
      return logged('email_key_taken');
    });
    expect(collisions.map(({ users }) => users)).to.have.deep.members([
      [ascii, umlaut],
      [ascii, wide],
      [first, second],
    ]);
    expect(JSON.stringify(collisions)).to.not.match(/@|example|exämple/);
  });

  it('do not change when recomputed again', async () => {
    const id = await account('ada@exämple.de');
    await launch();
    for (let round = 0; round < 2; round += 1) {
      await database.admin(
        `insert into warren.tasks (kind, key, correlation_id) values ('user.email-keys', 'all', 'again')
         on conflict (kind, key) do update set due_at = now()`,
      );
      await recomputed();
    }
    expect(await keyOf(id)).to.equal('ada@xn--exmple-cua.de');
    expect(logged('email_key_taken')).to.deep.equal([]);
  });

  it('are kept when the domain is invalid', async () => {
    const number = await account('ada@0x7f.1');
    const long = await account(`ada@${'ä'.repeat(64)}.example`);
    const last = await account('ada@exämple.de');
    await launch();
    await hurry();
    await recomputed();
    expect(await keyOf(number)).to.equal('ada@0x7f.1');
    expect(await keyOf(long)).to.equal(`ada@${'ä'.repeat(64)}.example`);
    expect(await keyOf(last)).to.equal('ada@xn--exmple-cua.de');
  });

  it('are all recomputed, page by page', async () => {
    await database.admin(
      `insert into users select gen_random_uuid(), 'Ada', a, a, now() from
       (select n || '@' || case when n % 3 = 0 then 'exämple.de' else 'example.com' end as a from generate_series(1, 1501) n) s`,
    );
    await launch();
    await hurry();
    await recomputed();
    const [counted] = await database.admin(
      `select count(*) filter (where email_key ~ '@xn--exmple-cua.de$')::int as idn,
              count(*) filter (where email_key ~ '@example.com$')::int as ascii from users`,
    );
    expect(counted).to.deep.equal({ idn: 500, ascii: 1001 });
  });

  for (const [end, key] of [
    ['commit', 'ada@exämple.de'],
    ['rollback', 'ada@xn--exmple-cua.de'],
  ] as const)
    it(`wait for a sign-up with the new key, and do not fail at its ${end}`, async () => {
      const id = await account('ada@exämple.de');
      await launch();
      const signUp = database.admin(signUpUntilAwaited(end));
      await eventually(async () => expect(await database.admin(SIGN_UP_HOLDS_KEY)).to.have.length(1));
      await hurry();
      await signUp;
      await recomputed();
      expect(await keyOf(id)).to.equal(key);
      expect(user?.logs.filter(({ err }) => err)).to.deep.equal([]);
      expect(logged('email_key_taken')).to.have.length(end === 'commit' ? 1 : 0);
    });
});
