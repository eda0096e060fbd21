// The whole, as a test sees it: a broker with restricted users, a database for each service, and processes.
import { managementOf, query, type TestBroker, withBroker, withDatabase } from '@warren/testkit';
import { type Accounts, takeAccounts } from './accounts.ts';
import { type Load, type LoadOptions, type SignUp, startLoad } from './load.ts';
import { createReplica, type Name, type Replica } from './replica.ts';

export interface SystemOptions {
  /** A broker of its own, that can be stopped. */
  privateBroker?: boolean;
  /** A database server of its own, that can be stopped. */
  privateDatabase?: boolean;
  /** Environment of every process. */
  env?: Record<string, string>;
}

export interface System {
  broker: TestBroker;
  /** The server of both databases; `stop`, `kill` and `start` where it is private. */
  databaseServer: { stop(): Promise<void>; kill(): Promise<void>; start(): Promise<void> };
  databaseUrl(service: Name): string;
  /** The same database, as a user with every right. */
  adminUrl(service: Name): string;
  sql<Row extends object = Record<string, unknown>>(
    service: Name,
    text: string,
    values?: unknown[],
  ): Promise<Row[]>;
  /** An address for a process that is not started yet. `env` comes over the system's. */
  replica(service: Name, env?: Record<string, string>): Promise<Replica>;
  /** One that is started and ready. */
  run(service: Name, env?: Record<string, string>): Promise<Replica>;
  /** Everybody who has signed up, or tried to. */
  ledger: SignUp[];
  load(options: Omit<LoadOptions, 'ledger'>): Load;
  /** Sends a signal (default SIGTERM) to all that runs, and waits for the exit codes. */
  end(signal?: NodeJS.Signals): Promise<(number | null)[]>;
  /** Waits until all has arrived, and counts it; see {@link takeAccounts}. */
  accounts(options?: { duplicates?: boolean; timeout?: number }): Promise<Accounts>;
}

/** The queue of the operator that hears every event, also while the test's own connections are broken. */
export const TAPE = 'e2e.tape';

/**
 * A system for the tests of this `describe`. Usable from the first `before` on.
 *
 * @example
 * const system = withSystem();
 * it('opens a session', async () => {
 *   const user = await system.run('user');
 *   …
 *   await system.end();
 *   await system.accounts();
 * });
 */
export function withSystem(options: SystemOptions = {}): System {
  const broker = withBroker({ services: ['user', 'session'], private: options.privateBroker });
  const database = withDatabase({ private: options.privateDatabase });
  let sessionUrl = '';
  let sessionAdminUrl = '';
  const replicas: Replica[] = [];
  const ledger: SignUp[] = [];
  const loads: Load[] = [];

  before('a tape of all events, and a second database', async () => {
    sessionUrl = await database.another();
    const admin = new URL(database.adminUrl);
    admin.pathname = new URL(sessionUrl).pathname;
    sessionAdminUrl = admin.href;
    const api = managementOf({ url: broker.adminUrl, managementUrl: broker.managementUrl });
    const vhost = encodeURIComponent(broker.vhost);
    await api.request('PUT', `queues/${vhost}/${TAPE}`, {
      durable: true,
      arguments: { 'x-queue-type': 'quorum' },
    });
    await api.request('POST', `bindings/${vhost}/e/events/q/${TAPE}`, { routing_key: '#' });
  });

  afterEach('the end of the load', function () {
    for (const load of loads.splice(0)) load.abandon();
    if (this.currentTest?.state !== 'failed') return;
    for (const { service, process } of replicas) {
      const words = process.output
        .filter((line) => !/"level":"?(info|debug|20|30)"?\b/.test(line))
        .slice(-12);
      console.log(`        ${service} (pid ${process.pid}, exit ${process.exitCode}):`);
      for (const line of words) console.log(`          ${line.slice(0, 600)}`);
    }
  });

  after('the end of the processes', async function () {
    this.timeout(30_000);
    await system.end('SIGKILL');
  });

  const system: System = {
    broker,
    databaseServer: database,
    databaseUrl: (service) => (service === 'user' ? database.url : sessionUrl),
    adminUrl: (service) => (service === 'user' ? database.adminUrl : sessionAdminUrl),
    sql: (service, text, values) => query(system.adminUrl(service), text, values),
    async replica(service, env = {}) {
      const replica = await createReplica(service, () => ({
        AMQP_URL: broker.url(service),
        DATABASE_URL: system.databaseUrl(service),
        ...options.env,
        ...env,
      }));
      replicas.push(replica);
      return replica;
    },
    async run(service, env) {
      const replica = await system.replica(service, env);
      replica.start();
      await replica.ready();
      return replica;
    },
    ledger,
    load(load) {
      const started = startLoad({ ...load, ledger });
      loads.push(started);
      return started;
    },
    end: (signal = 'SIGTERM') =>
      Promise.all(replicas.filter(({ running }) => running).map((replica) => replica.end(signal))),
    accounts: (wanted) => takeAccounts(system, wanted),
  };
  return system;
}
