import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, connect as dial, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildEvent, Joi } from '@warren/events';
import { client, eventually, freePort, query, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { ConnectError, isDatabaseUnavailable, reasonOf } from '../src/database/outage.ts';
import { WarrenError } from '../src/errors.ts';
import { newId } from '../src/id.ts';
import { created, defineService, post } from '../src/index.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { createLog } from '../src/telemetry/index.ts';
import { hear, listenerBroker, type Schema, written } from './fixtures/services.ts';

const LONG = { timeout: 40_000 };
const QUEUE = 'beta.alpha.written';

describe('an error of the database', () => {
  const withCode = (code: string, more: object = {}) =>
    Object.assign(new Error(`it is ${code}`), { code, ...more });
  const outages: [string, Error][] = [
    ...[
      ...['08000', '08003', '08006', '08P01'],
      ...['28000', '28P01', '3D000', '53000', '53100', '53200', '53300', '53400'],
      ...[
        '57000',
        '57P01',
        '57P02',
        '57P03',
        '57P04',
        '57P05',
        '58000',
        '58030',
        '58P01',
        'XX000'.replace('XX', '58'),
      ],
      ...['55000', '25006'],
      ...[
        'ECONNREFUSED',
        'ECONNRESET',
        'ECONNABORTED',
        'EPIPE',
        'ETIMEDOUT',
        'ENOTFOUND',
        'EAI_AGAIN',
        'EHOSTUNREACH',
      ],
    ].map((code): [string, Error] => [code, withCode(code)]),
    ['ENOENT of a Unix socket', withCode('ENOENT', { syscall: 'connect' })],
    ['EACCES of a Unix socket', withCode('EACCES', { syscall: 'connect' })],
    ['a lost connection', new Error('Connection terminated unexpectedly')],
    ['any error while connecting', new ConnectError(withCode('42501'))],
    ['an outage that is the cause of another error', new Error('x', { cause: withCode('3D000') })],
    [
      'a migration that met an outage',
      new WarrenError('migration_failed', 'x', { cause: withCode('53100') }),
    ],
    ['one of several addresses', new AggregateError([withCode('ECONNREFUSED'), new Error('x')])],
  ];
  for (const [what, error] of outages)
    it(`is an outage: ${what}`, () => expect(isDatabaseUnavailable(error)).to.equal(true));

  const own: [string, unknown][] = [
    ...[
      '57014',
      '55P03',
      '55006',
      '23505',
      '40001',
      '42P01',
      '42501',
      '22P02',
      'XX000',
      '25P02',
      '25001',
      '3F000',
    ].map((code): [string, Error] => [code, withCode(code)]),
    ['ENOENT of a file', withCode('ENOENT', { syscall: 'open' })],
    ['a plain error', new Error('no')],
    ['a string', 'no'],
    ['nothing', undefined],
  ];
  for (const [what, error] of own)
    it(`is the statement's own: ${what}`, () => expect(isDatabaseUnavailable(error)).to.equal(false));

  it('is shown in one line, without secrets', () => {
    expect(reasonOf(new Error('cannot reach\n postgres://me:secret@host/x'))).to.equal(
      'cannot reach postgres://me:***@host/x',
    );
    expect(reasonOf(new AggregateError([withCode('A'), withCode('B')]))).to.equal('it is A, it is B');
  });
});

/** Consumes alpha.written, and has a route that writes. */
const betaBroker = listenerBroker('beta');
const beta = defineService<object, Schema, typeof betaBroker>({
  name: 'beta',
  version: '1.0.0',
  migrations: new URL('./fixtures/migrations/', import.meta.url),
  broker: betaBroker,
  handlers: { 'beta.alpha.written': hear },
  routes: [
    post(
      '/notes',
      {
        access: 'public',
        body: Joi.object({ id: Joi.string().guid().required(), text: Joi.string().required() }),
        responses: {},
      },
      async ({ body }: { body: { id: string; text: string } }, { transaction }) => {
        await transaction.insertInto('notes').values(body).execute();
        return created(`/notes/${body.id}`, body);
      },
    ),
  ],
});

interface Line {
  level: string;
  msg: string;
}

/** Starts beta; its log is read by the test. */
async function launch(env: Record<string, string>, signal?: AbortSignal) {
  const lines: Line[] = [];
  const log = createLog({
    service: 'beta',
    version: '1',
    level: 'info',
    stream: { write: (line) => void lines.push(JSON.parse(line)) },
  });
  const starting = start(
    beta,
    // An event that climbed the ladder would not be back in time.
    { PORT: '0', ADMIN_PORT: '0', RETRY_DELAYS: '10m', ...env },
    { log, ...(signal !== undefined && { signal }) },
  );
  return { lines, starting };
}

describe('a database that is there and refuses', function () {
  this.timeout(180_000);
  after(() => service?.stop());
  const broker = withBroker({ services: ['alpha', 'beta'] });
  const database = withDatabase();
  let service: RunningService;
  let lines: Line[];

  const role = () => new URL(database.url).username;
  const password = () => new URL(database.url).password;
  /** SQL with every right, on another database of the server. */
  const operator = (sql: string) => {
    const url = new URL(database.adminUrl);
    url.pathname = '/postgres';
    return query(url.href, sql);
  };
  const terminate = () =>
    operator(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname like '${database.name}%' and usename = '${role()}'`,
    );
  const publish = () =>
    broker.publish(
      'events',
      written.routingKey,
      buildEvent(written, {
        id: newId(),
        source: '/alpha',
        time: new Date(),
        data: { noteId: newId(), text: 'x' },
      }),
    );
  const heard = async () =>
    (await database.admin<{ n: number }>('select count(*)::int n from heard'))[0]?.n as number;
  const readyz = async () => (await client(service.adminUrl).get('/readyz')).body;
  const outcomes = async () =>
    Object.fromEntries(
      (await service.metrics.eventsConsumed.get()).values.map(({ labels, value }) => [labels.outcome, value]),
    );
  const write = () => client(service.url).post('/notes', { id: newId(), text: 'x' });
  const said = (pattern: RegExp) => lines.filter(({ msg }) => pattern.test(msg));

  before(async () => {
    const launched = await launch({ AMQP_URL: broker.url('beta'), DATABASE_URL: database.url });
    lines = launched.lines;
    service = await launched.starting;
    await eventually(() => expect(service.ready()).to.equal(true), LONG);
  });

  const refusals: {
    what: string;
    begin: () => Promise<unknown>;
    end: () => Promise<unknown>;
    why: RegExp;
    /** It takes several attempts to begin. */
    flaps?: boolean;
  }[] = [
    {
      what: 'with another password',
      begin: () => operator(`alter role "${role()}" password 'elsewhere'`),
      end: () => operator(`alter role "${role()}" password '${password()}'`),
      why: /password authentication failed/,
    },
    {
      what: 'that takes no connections',
      begin: () => operator(`alter database "${database.name}" with allow_connections false`),
      end: () => operator(`alter database "${database.name}" with allow_connections true`),
      why: /not currently accepting connections/,
    },
    {
      what: 'whose role may not connect',
      begin: () => operator(`alter role "${role()}" connection limit 0`),
      end: () => operator(`alter role "${role()}" connection limit -1`),
      why: /too many connections/,
    },
    {
      what: 'that was renamed',
      begin: () =>
        eventually(async () => {
          await terminate();
          await operator(`alter database "${database.name}" rename to "${database.name}_restored"`);
        }, LONG),
      end: () => operator(`alter database "${database.name}_restored" rename to "${database.name}"`),
      why: /does not exist/,
      flaps: true,
    },
    {
      what: 'that is read-only',
      begin: () => operator(`alter database "${database.name}" set default_transaction_read_only = on`),
      end: () => operator(`alter database "${database.name}" reset default_transaction_read_only`),
      why: /read-only/,
    },
    {
      what: 'that has no room on its disk',
      begin: () =>
        database.admin(`
          create function full_disk() returns trigger language plpgsql as $$
            begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$;
          create trigger full_disk before insert on warren.inbox execute function full_disk();
          create trigger full_disk before insert on notes execute function full_disk()`),
      end: () => database.admin('drop function full_disk cascade'),
      why: /No space left on device/,
    },
  ];

  for (const { what, begin, end, why, flaps = false } of refusals)
    it(`${what}: events wait, HTTP is 503, readiness, metric and log say why, and all goes on without a restart`, async () => {
      // Nothing is left of an earlier test that failed.
      await eventually(async () => expect(await broker.queueDepth(QUEUE)).to.equal(0), LONG);
      const before = await heard();
      const { retried, dead } = await outcomes();
      lines.length = 0;
      await begin();
      try {
        await terminate();
        for (let i = 0; i < 3; i += 1) await publish();

        await eventually(async () => {
          const { database: state, databaseProblem, status } = await readyz();
          expect({ state, status }).to.deep.equal({ state: 'unreachable', status: 'ready' });
          expect(databaseProblem).to.match(why);
          expect(databaseProblem).not.to.include(password());
        }, LONG);
        expect((await service.metrics.databaseConnected.get()).values[0]?.value).to.equal(0);
        const { status, body, headers } = await write();
        expect({ status, code: body.code }).to.deep.equal({ status: 503, code: 'database_unavailable' });
        expect(headers.get('retry-after')).to.equal('1');
        // Ready to be delivered: nobody holds them.
        await eventually(async () => expect(await broker.queueDepth(QUEUE)).to.equal(3), LONG);
        expect(said(/^database unavailable/).at(-1)?.msg).to.match(why);
      } finally {
        await end();
      }
      await eventually(async () => expect(await heard()).to.equal(before + 3), LONG);
      await eventually(async () => expect((await readyz()).database).to.equal('connected'), LONG);
      await eventually(async () => expect((await write()).status).to.equal(201), LONG);
      expect((await service.metrics.databaseConnected.get()).values[0]?.value).to.equal(1);
      expect(await outcomes()).to.deep.include({ retried, dead });
      expect(await broker.queueDepth(`${QUEUE}.dlq`)).to.equal(0);
      const begins = said(/^database unavailable/).length;
      if (!flaps) expect(begins, 'lines of the begin').to.equal(1);
      await eventually(() =>
        expect(said(/^database available again/), 'lines of the end').to.have.length(begins),
      );
    });

  it('and ends its backends time and again: nothing is retried or dead-lettered', async () => {
    const before = await heard();
    const { retried, dead } = await outcomes();
    for (let i = 0; i < 10; i += 1) {
      for (let j = 0; j < 5; j += 1) await publish();
      await terminate();
    }
    await eventually(async () => expect(await heard()).to.equal(before + 50), LONG);
    expect(await outcomes()).to.deep.include({ retried, dead });
    expect(await broker.queueDepth(`${QUEUE}.dlq`)).to.equal(0);
  });
});

describe('a service that starts while its database refuses', function () {
  this.timeout(120_000);
  const broker = withBroker({ services: ['alpha', 'beta'] });
  const database = withDatabase();

  it('waits, says why once, in its log and in /readyz, and starts when the password is right', async () => {
    const { username, password } = new URL(database.url);
    await database.admin(`alter role "${username}" password 'elsewhere'`);
    const adminPort = await freePort();
    const { lines, starting } = await launch({
      ADMIN_PORT: String(adminPort),
      AMQP_URL: broker.url('beta'),
      DATABASE_URL: database.url,
    });
    try {
      await eventually(async () => {
        const { status, body } = await client(`http://127.0.0.1:${adminPort}`).get('/readyz');
        expect(status).to.equal(503);
        expect(body).to.include({ status: 'starting', database: 'unreachable' });
        expect(body.databaseProblem).to.match(/password authentication failed/);
      }, LONG);
    } finally {
      await database.admin(`alter role "${username}" password '${password}'`);
    }
    const service = await starting;
    try {
      await eventually(() => expect(service.ready()).to.equal(true), LONG);
      expect(
        lines.filter(({ msg }) => /^database unavailable: password authentication failed/.test(msg)),
      ).to.have.length(1);
      expect(lines.filter(({ level }) => level === 'fatal' || level === 'error')).to.deep.equal([]);
    } finally {
      await service.stop();
    }
  });

  it('waits for a Unix socket that is missing, and works through it', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'warren-socket-'));
    const { username, password, pathname, hostname, port } = new URL(database.url);
    const sockets: Server[] = [];
    const { lines, starting } = await launch({
      AMQP_URL: broker.url('beta'),
      DATABASE_URL: `postgres://${username}:${password}@${encodeURIComponent(directory)}${pathname}`,
    });
    try {
      await eventually(
        () => expect(lines.map(({ msg }) => msg).join()).to.match(/database unavailable: connect ENOENT/),
        LONG,
      );
      const server = createServer((from) => {
        const to = dial(Number(port), hostname);
        from.pipe(to).pipe(from);
        for (const end of [from, to]) end.on('error', () => end.destroy());
      });
      sockets.push(server);
      server.listen(join(directory, '.s.PGSQL.5432'));
      const service = await starting;
      try {
        await eventually(() => expect(service.ready()).to.equal(true), LONG);
        expect((await client(service.url).post('/notes', { id: newId(), text: 'x' })).status).to.equal(201);
      } finally {
        await service.stop();
      }
    } finally {
      for (const server of sockets) server.close();
      await rm(directory, { recursive: true, force: true });
    }
  });
});
