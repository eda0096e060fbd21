import { randomBytes } from 'node:crypto';
import { registerCleanup } from '../cleanup.ts';
import { keptServices } from '../kept.ts';
import { atTheEnd } from '../mocha.ts';
import { createDatabase, dropDatabase, query } from './database.ts';
import type { DatabaseServer, PrivateDatabaseServer } from './server.ts';
import { startDatabase, startPrivateDatabase } from './start.ts';

export interface WithDatabaseOptions {
  /** A server of one's own, that can be stopped, killed and started. */
  private?: boolean;
}

/** A database inside a mocha test. Usable from the first `before` on. */
export interface TestDatabase {
  /** Of a role that owns this database and nothing else. */
  url: string;
  /** Of a user with every right, on the same database. */
  adminUrl: string;
  name: string;
  version: string;
  /**
   * Runs SQL with every right.
   *
   * @example
   * const [row] = await database.admin('select count(*)::int as n from users');
   */
  admin<Row extends object = Record<string, unknown>>(sql: string, values?: unknown[]): Promise<Row[]>;
  /** One more database on the same server, for a test of several services; dropped with this one. Returns its URL. */
  another(): Promise<string>;
  /** An orderly stop. Private servers only. */
  stop(): Promise<void>;
  /** SIGKILL. Private servers only. */
  kill(): Promise<void>;
  /** Up again after `stop` or `kill`, with the same port and data. Private servers only. */
  start(): Promise<void>;
}

let shared: Promise<DatabaseServer> | undefined;

/**
 * An empty database of a real PostgreSQL for the tests of this file (or `describe`); dropped after them. All files of a run share
 * one server: that of DATABASE_URL, or one that is started for the run.
 *
 * @example
 * const database = withDatabase();
 * it('keeps users', async () => {
 *   await start(service, { DATABASE_URL: database.url });
 *   expect(await database.admin('select * from users')).to.have.length(0);
 * });
 */
export function withDatabase(options: WithDatabaseOptions = {}): TestDatabase {
  let server: DatabaseServer | undefined;
  let url: string | undefined;
  const name = `warren_test_${randomBytes(4).toString('hex')}`;
  const removals: (() => Promise<void>)[] = [];

  const make = async (database: string): Promise<string> => {
    const { url: at } = ready();
    const forget = options.private
      ? () => {}
      : registerCleanup({ type: 'database', server: at, name: database, role: database });
    if (!options.private) {
      removals.push(async () => {
        await dropDatabase(at, database, database);
        forget();
      });
    }
    const role = { name: database, password: randomBytes(12).toString('hex') };
    return createDatabase({ server: at, name: database, role });
  };

  const ready = (): DatabaseServer => {
    if (!server)
      throw new Error('withDatabase() is ready from before() on: use the database inside hooks and tests');
    return server;
  };
  const own = (): PrivateDatabaseServer => {
    if (!options.private)
      throw new Error('only withDatabase({ private: true }) gives a server that can be stopped');
    return ready() as PrivateDatabaseServer;
  };
  const adminUrl = () => {
    const admin = new URL(ready().url);
    admin.pathname = `/${name}`;
    return admin.href;
  };

  before('a database', async function () {
    this.timeout(120_000);
    if (options.private) server = await startPrivateDatabase();
    else {
      shared ??= startDatabase({ env: { ...keptServices(), ...process.env } }).then((started) => {
        atTheEnd(this, 'the end of the database server', () => started.stop());
        return started;
      });
      server = await shared;
    }
    url = await make(name);
  });

  after('the end of the database', async function () {
    this.timeout(60_000);
    if (options.private) await server?.stop();
    for (const remove of removals.reverse()) await remove();
  });

  return {
    name,
    get url() {
      ready();
      return url as string;
    },
    get adminUrl() {
      return adminUrl();
    },
    get version() {
      return ready().version;
    },
    admin: (sql, values) => query(adminUrl(), sql, values),
    another: () => make(`${name}_${removals.length + 1}_${randomBytes(2).toString('hex')}`),
    stop: async () => own().halt(),
    kill: async () => own().kill(),
    start: async () => own().start(),
  };
}
