import { readFile } from 'node:fs/promises';
import { Joi } from '@warren/events';
import { eventually, startIssuer, type TestIssuer, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import fc from 'fast-check';
import { sql } from 'kysely';
import { createAuth } from '../src/auth/auth.ts';
import { type ChassisConfig, loadConfig } from '../src/config.ts';
import type { UnitsOfWork } from '../src/context.ts';
import { type Database, openDatabase } from '../src/database/database.ts';
import { migrate } from '../src/database/migrate.ts';
import { problem } from '../src/errors.ts';
import { canonicalJson, digestOf, pruneIdempotencyKeys } from '../src/http/idempotency.ts';
import { created, noContent, post, type Route, respond } from '../src/http/routes.ts';
import { createLog } from '../src/telemetry/index.ts';
import { createUnitsOfWork } from '../src/units-of-work.ts';
import { closeWebs, json, openWeb, type WebOptions } from './http-fixture.ts';

const log = createLog({ service: 'test', version: '1', level: 'silent' });
const POOL = 4;

describe('Idempotency-Key', function () {
  this.timeout(20_000);
  const server = withDatabase();
  const opened: Database<unknown>[] = [];
  /** Waited for by `POST /slow` after its effect, before its commit. */
  let gate: { entered: () => void; opened: Promise<void> };
  let fail: Error | undefined;

  const routes: Route[] = [
    post(
      '/users',
      {
        access: 'public',
        aliases: ['/users/save'],
        body: Joi.object({ name: Joi.string().trim().required(), tag: Joi.any() }),
      },
      async ({ body }, { transaction }) => {
        const { rows } = await sql<{
          id: number;
        }>`insert into effects (name) values (${body.name}) returning id`.execute(transaction);
        const id = rows[0]?.id;
        if (body.name === 'refused') throw problem(409, { detail: 'No.' });
        if (body.name === 'declined') return respond(422, { declined: true });
        return created(`/users/${id}`, { z: body.name, id, a: 'é\u0001' });
      },
    ),
    post(
      '/slow',
      { access: 'public', body: Joi.object({ name: Joi.string() }) },
      async ({ body }, { transaction }) => {
        await sql`insert into effects (name) values (${body.name})`.execute(transaction);
        gate.entered();
        await gate.opened;
        const failure = fail;
        fail = undefined;
        if (failure) throw failure;
        return { done: body.name };
      },
    ),
    post('/stuck', { access: 'public' }, async (_, { transaction }) => {
      await sql`insert into effects (name) values ('stuck')`.execute(transaction);
      await sql`select pg_sleep(60)`.execute(transaction);
      return {};
    }),
    post('/things/:id/touch', { access: 'public' }, async ({ params }, { transaction }) => {
      await sql`insert into effects (name) values (${params.id})`.execute(transaction);
      return noContent();
    }),
  ];

  /** One replica of the service: its own memory and pool on the common database. */
  const replica = async (options: Partial<WebOptions> = {}) => {
    const database = openDatabase<unknown>({ url: server.url, connections: POOL, name: 'test', log });
    opened.push(database);
    const units: UnitsOfWork = createUnitsOfWork({
      service: 'test',
      database,
      config: {},
      now: () => new Date(),
      publications: new Set(),
      onCommit: () => {},
    });
    const { url } = await openWeb({ routes, units, ...options });
    const send = async (path: string, key: string | undefined, body: unknown = {}, token?: string) => {
      const response = await fetch(
        url + path,
        json(body, {
          ...(key !== undefined && { 'idempotency-key': key }),
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
        }),
      );
      const { status, headers } = response;
      return {
        status,
        text: await response.text(),
        location: headers.get('location'),
        type: headers.get('content-type'),
        retryAfter: headers.get('retry-after'),
        replayed: headers.get('idempotency-replayed'),
      };
    };
    return { send, database };
  };
  const effects = async (name: string) =>
    (await server.admin<{ n: number }>('select count(*)::int as n from effects where name = $1', [name]))[0]
      ?.n;
  const kept = async (key: string) =>
    server.admin('select * from warren.idempotency_keys where key = $1', [key]);
  const standInTheWay = () => {
    const entered = Promise.withResolvers<void>();
    const way = Promise.withResolvers<void>();
    gate = { entered: entered.resolve, opened: way.promise };
    return { entered: entered.promise, open: way.resolve };
  };

  before(async () => {
    await migrate(
      server.url,
      [{ name: 'chassis', directory: new URL('../migrations/', import.meta.url) }],
      log,
    );
    const database = openDatabase<unknown>({ url: server.url, connections: 1, name: 'test', log });
    await sql`create table effects (id integer generated always as identity, name text not null)`.execute(
      database.kysely,
    );
    await database.close();
  });
  beforeEach(() => {
    fail = undefined;
  });
  afterEach(async () => {
    await closeWebs();
    await Promise.all(opened.splice(0).map((database) => database.close()));
  });

  describe('with AUTH=jwt', () => {
    let issuer: TestIssuer;
    before(async () => {
      issuer = await startIssuer();
    });
    after(() => issuer.close());

    it('belongs to who sent it: another user’s is another key', async () => {
      const config = loadConfig<ChassisConfig>({ database: false, broker: false, env: issuer.env });
      const auth = createAuth(config, log, () => new Date());
      const { send } = await replica({ auth });
      const ada = await issuer.token({ sub: 'ada' });
      const bob = await issuer.token({ sub: 'bob' });
      const first = await send('/users', 'shared', { name: 'Shared' }, ada);
      expect(await send('/users', 'shared', { name: 'Shared' }, ada)).to.deep.equal({
        ...first,
        replayed: 'true',
      });
      for (const stranger of [bob, undefined]) {
        const other = await send('/users', 'shared', { name: 'Shared' }, stranger);
        expect(other).to.include({ status: 201, replayed: null });
        expect(other.location).not.to.equal(first.location);
      }
      expect(await effects('Shared')).to.equal(3);
      // What a replica from before writes and finds.
      expect((await kept('shared')).map(({ route }) => route).sort()).to.deep.equal([
        '/users',
        '/users ada',
        '/users bob',
      ]);
    });

    it('does not have one user wait for another’s request', async () => {
      const config = loadConfig<ChassisConfig>({ database: false, broker: false, env: issuer.env });
      const { send } = await replica({ auth: createAuth(config, log, () => new Date()) });
      const { entered, open } = standInTheWay();
      const running = send('/slow', 'both', { name: 'one' }, await issuer.token({ sub: 'ada' }));
      await entered;
      const theirs = standInTheWay();
      const other = send('/slow', 'both', { name: 'two' }, await issuer.token({ sub: 'bob' }));
      await theirs.entered;
      theirs.open();
      expect(await other).to.include({ status: 200, replayed: null });
      open();
      expect(await running).to.include({ status: 200, replayed: null });
    });
  });

  it('gives a repeat the stored answer, byte for byte, and no second effect', async () => {
    const { send } = await replica();
    const first = await send('/users', 'k1', { name: 'Ada' });
    expect(first).to.include({ status: 201, replayed: null });
    expect(first.location).to.match(/^\/users\/\d+$/);
    expect(await send('/users', 'k1', { name: 'Ada' })).to.deep.equal({ ...first, replayed: 'true' });
    expect(await (await replica()).send('/users', 'k1', { name: 'Ada' })).to.deep.equal({
      ...first,
      replayed: 'true',
    });
    expect(await effects('Ada')).to.equal(1);
  });

  it('replays an answer without a body', async () => {
    const { send } = await replica();
    const first = await send('/things/7/touch', 'empty');
    expect(first).to.include({ status: 204, text: '', replayed: null });
    expect(await send('/things/7/touch', 'empty')).to.include({ status: 204, text: '', replayed: 'true' });
  });

  it('takes aliases for one route, and what validation makes equal for equal', async () => {
    const { send } = await replica();
    await send('/users', 'k2', { name: 'Bob', tag: { a: 1, b: 2 } });
    const repeat = await send('/users/save', 'k2', { tag: { b: 2, a: 1 }, name: '  Bob ' });
    expect(repeat).to.include({ status: 201, replayed: 'true' });
    expect(await effects('Bob')).to.equal(1);
  });

  it('refuses another body under the same key with 422, also another path parameter', async () => {
    const { send } = await replica();
    await send('/users', 'k3', { name: 'Cleo' });
    const other = await send('/users', 'k3', { name: 'Dora' });
    expect(other).to.include({ status: 422, replayed: null });
    expect(JSON.parse(other.text)).to.include({ code: 'idempotency_key_reused' });
    expect(await effects('Dora')).to.equal(0);
    await send('/things/1/touch', 'k3');
    expect((await send('/things/2/touch', 'k3')).status).to.equal(422);
  });

  it('keeps keys of different routes apart', async () => {
    const { send } = await replica();
    expect((await send('/users', 'k4', { name: 'Eve' })).status).to.equal(201);
    expect((await send('/things/1/touch', 'k4')).status).to.equal(204);
  });

  it('refuses an invalid key', async () => {
    const { send } = await replica();
    for (const key of ['a b', 'x'.repeat(256), 'ä']) {
      const refused = await send('/users', key, { name: 'Finn' });
      expect(refused.status, key).to.equal(400);
      expect(JSON.parse(refused.text).errors[0].path).to.equal('idempotency-key');
    }
    expect((await send('/users', 'x'.repeat(255), { name: 'Finn' })).status).to.equal(201);
  });

  it('leaves requests without a key alone', async () => {
    const { send } = await replica();
    await send('/users', undefined, { name: 'Gwen' });
    await send('/users', undefined, { name: 'Gwen' });
    expect(await effects('Gwen')).to.equal(2);
  });

  it('stores no answer but 2xx: what failed may be tried again', async () => {
    const { send } = await replica();
    expect((await send('/users', 'k5', { name: 'refused' })).status).to.equal(409);
    expect(await kept('k5')).to.deep.equal([]);
    expect(await effects('refused')).to.equal(0);
    expect((await send('/users', 'k5', { name: 'Hugo' })).status).to.equal(201);

    expect((await send('/users', 'k6', { name: 'declined' })).status).to.equal(422);
    expect(await kept('k6')).to.deep.equal([]);
    expect(await effects('declined'), 'an answer that was returned commits').to.equal(1);
  });

  for (const where of ['the same replica', 'another replica']) {
    describe(`while the first runs, a repeat at ${where}`, () => {
      const pair = async (options?: Partial<WebOptions>) => {
        const first = await replica(options);
        return { first, second: where === 'the same replica' ? first : await replica(options) };
      };

      it('waits for its answer', async () => {
        const { first, second } = await pair();
        const way = standInTheWay();
        const name = `wait ${where}`;
        const one = first.send('/slow', name.replaceAll(' ', '-'), { name });
        await way.entered;
        let answered = false;
        const two = second.send('/slow', name.replaceAll(' ', '-'), { name }).finally(() => {
          answered = true;
        });
        if (where === 'another replica') await eventually(() => waitsForLock(server));
        expect(answered).to.equal(false);
        way.open();
        expect(await one).to.include({ status: 200, replayed: null });
        expect(await two).to.include({ status: 200, replayed: 'true', text: (await one).text });
        expect(await effects(name)).to.equal(1);
      });

      it('runs itself when the first fails', async () => {
        const { first, second } = await pair();
        const way = standInTheWay();
        const name = `fail ${where}`;
        fail = problem(503, { detail: 'Not today.' });
        const one = first.send('/slow', name.replaceAll(' ', '-'), { name });
        await way.entered;
        const two = second.send('/slow', name.replaceAll(' ', '-'), { name });
        if (where === 'another replica') await eventually(() => waitsForLock(server));
        way.open();
        expect((await one).status).to.equal(503);
        expect(await two).to.include({ status: 200, replayed: null });
        expect(await effects(name)).to.equal(1);
      });

      it('gets 409 with Retry-After at its deadline, and the first is none the worse', async () => {
        const patient = await replica();
        const hasty = where === 'another replica' ? await replica({ timeout: 300 }) : undefined;
        const both = hasty ? undefined : await replica({ timeout: 300 });
        const way = standInTheWay();
        const name = `late ${where}`;
        const key = name.replaceAll(' ', '-');
        const one = (both ?? patient).send('/slow', key, { name });
        await way.entered;
        const two = await (both ?? (hasty as typeof patient)).send('/slow', key, { name });
        expect(two).to.include({ status: 409, retryAfter: '1' });
        expect(JSON.parse(two.text)).to.include({ code: 'idempotency_in_progress' });
        way.open();
        if (both) {
          expect((await one).status).to.equal(503);
          expect(
            await eventually(async () => (await both.send('/slow', key, { name })).status === 200),
          ).to.equal(true);
        } else {
          expect((await one).status).to.equal(200);
        }
        expect(await effects(name)).to.equal(1);
      });
    });
  }

  it('has many repeats wait without a connection each', async () => {
    const { send, database } = await replica();
    const way = standInTheWay();
    const repeats = Array.from({ length: 20 }, () => send('/slow', 'many', { name: 'many' }));
    await way.entered;
    // The pool still has room for others.
    expect((await send('/users', 'beside', { name: 'beside' })).status).to.equal(201);
    expect(database.stats().total).to.be.lessThan(POOL);
    expect(database.stats().waiting).to.equal(0);
    way.open();
    const answers = await Promise.all(repeats);
    expect(answers.map(({ status }) => status)).to.deep.equal(Array(20).fill(200));
    expect(answers.filter(({ replayed }) => replayed === null)).to.have.length(1);
    expect(await effects('many')).to.equal(1);
  });

  it('has one effect, however many replicas race', async () => {
    const replicas = await Promise.all([replica(), replica(), replica()]);
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, n) =>
        (replicas[n % 3] as (typeof replicas)[0]).send('/users', 'race', { name: 'race' }),
      ),
    );
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).to.equal(1);
    expect(await effects('race')).to.equal(1);
  });

  it('rolls back what a deadline cuts short, and leaves its key free', async () => {
    const { send } = await replica({ timeout: 300 });
    expect((await send('/stuck', 'stuck')).status).to.equal(503);
    await eventually(async () => {
      const running = await server.admin(
        `select 1 from pg_stat_activity where query like '%pg_sleep%' and state = 'active' and pid <> pg_backend_pid()`,
      );
      expect(running).to.deep.equal([]);
    });
    expect(await effects('stuck')).to.equal(0);
    expect(await kept('stuck')).to.deep.equal([]);
  });

  it('forgets answers after their time, and no others', async () => {
    const { send, database } = await replica();
    await send('/users', 'old', { name: 'Ida' });
    await send('/users', 'new', { name: 'Jon' });
    await server.admin(
      `update warren.idempotency_keys set created_at = now() - interval '25 hours' where key = 'old'`,
    );
    expect(await pruneIdempotencyKeys(database.kysely, 24 * 3_600_000)).to.equal(1);
    expect(await kept('old')).to.deep.equal([]);
    expect(await kept('new')).to.have.length(1);
    expect((await send('/users', 'old', { name: 'Kim' })).status).to.equal(201);
  });

  it('forgets a great many in batches', async () => {
    const { database } = await replica();
    await server.admin(`insert into warren.idempotency_keys (route, key, digest, created_at)
      select '/bulk', n::text, '', now() - interval '2 days' from generate_series(1, 2500) n`);
    expect(await pruneIdempotencyKeys(database.kysely, 24 * 3_600_000)).to.equal(2500);
  });

  it('is made by a migration that the previous version does not mind', async () => {
    const ddl = await readFile(new URL('../migrations/002_idempotency.sql', import.meta.url), 'utf8');
    expect(ddl).not.to.match(/\b(drop|alter|rename)\b/i);
  });
});

describe('the digest of a request', () => {
  const request = (body: unknown) => ({ params: {}, query: {}, body });
  const shuffled = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(shuffled);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value)
        .reverse()
        .map(([name, inner]) => [name, shuffled(inner)]),
    );
  };

  it('does not depend on the order of fields (property)', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(digestOf(request(shuffled(value))).equals(digestOf(request(value)))).to.equal(true);
      }),
    );
  });

  it('is of the JSON, no more and no less (property)', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(canonicalJson(value))).to.deep.equal(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it('distinguishes different requests (property)', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        fc.pre(canonicalJson(a) !== canonicalJson(b));
        expect(digestOf(request(a)).equals(digestOf(request(b)))).to.equal(false);
      }),
    );
  });

  it('counts order in lists, parameters and queries, and dates by their value', () => {
    expect(digestOf(request([1, 2])).equals(digestOf(request([2, 1])))).to.equal(false);
    const [a, b] = [
      digestOf({ params: { id: '1' }, query: {}, body: {} }),
      digestOf({ params: {}, query: { id: '1' }, body: {} }),
    ];
    expect(a.equals(b)).to.equal(false);
    const date = new Date(0);
    expect(digestOf(request({ date })).equals(digestOf(request({ date: date.toJSON() })))).to.equal(true);
  });
});

async function waitsForLock(server: { admin: ReturnType<typeof withDatabase>['admin'] }): Promise<boolean> {
  const rows = await server.admin(
    `select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%idempotency_keys%' and pid <> pg_backend_pid()`,
  );
  return rows.length > 0;
}
