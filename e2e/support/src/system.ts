// The whole, as a test sees it: a broker with restricted users, a database for each service, and processes.
import { query, startIssuer, type TestIssuer, withBroker, withDatabase } from '@warren/testkit';
import { type Accounts, type AccountsOptions, takeAccounts } from './accounts/accounts.ts';
import type { Audited } from './accounts/auditor.ts';
import { type Business, type BusinessOptions, type Placed, startBusiness } from './business.ts';
import { createEventRecorder } from './event-recorder.ts';
import { type Load, type LoadOptions, type SignUp, startLoad } from './load.ts';
import { type Mailbox, openMailbox } from './mailbox.ts';
import { createReplica, everyService, isStateful, type Name, type Replica } from './replica.ts';
import { type Authorize, noTokens, tokensOf } from './tokens.ts';

export interface SystemOptions {
  /** Default: user and session. */
  services?: readonly Name[];
  /** A broker of its own, that can be stopped. */
  privateBroker?: boolean;
  /** A database server of its own, that can be stopped. */
  privateDatabase?: boolean;
  /** A mail server, which the email service is told of. */
  mail?: boolean;
  /** AUTH=jwt, with an issuer of tokens. */
  auth?: boolean;
  /** Environment of every process. */
  env?: Record<string, string>;
}

export interface System extends Audited {
  /** The server of all databases; `stop`, `kill` and `start` where it is private. */
  databaseServer: { stop(): Promise<void>; kill(): Promise<void>; start(): Promise<void> };
  /** @throws {Error} when the service has none */
  databaseUrl(service: Name): string;
  /** The same database, as a user with every right. */
  adminUrl(service: Name): string;
  /** With `auth`. */
  issuer: TestIssuer;
  /** The token that a request needs; none without `auth`. */
  authorize: Authorize;
  /**
   * An address for a process that is not started yet. `env` comes over the system's. A gateway leads to the first replica that
   * each other service has when it is started.
   */
  replica(service: Name, env?: Record<string, string>): Promise<Replica>;
  /** One that is started and ready. */
  run(service: Name, env?: Record<string, string>): Promise<Replica>;
  /** One of each service, all of them started and ready. */
  runAll(env?: Partial<Record<Name, Record<string, string>>>): Promise<Record<Name, Replica>>;
  load(options: Omit<LoadOptions, 'ledger'>): Load;
  business(options: Omit<BusinessOptions, 'ledger' | 'orderLedger'>): Business;
  /** Waits until all has arrived, and counts it; see {@link takeAccounts}. */
  accounts(options?: AccountsOptions): Promise<Accounts>;
}

/**
 * A system for the tests of this `describe`. Usable from the first `before` on.
 *
 * @example
 * const system = withSystem({ services: ['user', 'session'] });
 * it('opens a session', async () => {
 *   const user = await system.run('user');
 *   …
 *   await system.end();
 *   await system.accounts();
 * });
 */
export function withSystem(options: SystemOptions = {}): System {
  const services = options.services ?? ['user', 'session'];
  const broker = withBroker({ services: [...services], private: options.privateBroker });
  const database = withDatabase({ private: options.privateDatabase });
  const recorder = createEventRecorder(broker);
  const databases = new Map<Name, string>();
  const replicas: Replica[] = [];
  const ledger: SignUp[] = [];
  const orders: Placed[] = [];
  const loads: { abandon(): void }[] = [];
  let mailbox: Mailbox | undefined;
  let issuer: TestIssuer | undefined;

  before('an event recorder, a database for each service, a mail server', async () => {
    const [first, ...others] = services.filter(isStateful);
    if (first !== undefined) databases.set(first, database.url);
    for (const service of others) databases.set(service, await database.another());
    await recorder.open();
    if (options.mail) mailbox = await openMailbox();
    if (options.auth) issuer = await startIssuer();
  });

  afterEach('the end of the load', function () {
    for (const load of loads.splice(0)) load.abandon();
    if (this.currentTest?.state !== 'failed') return;
    for (const { service, process } of replicas.filter(({ started }) => started)) {
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
    await mailbox?.close();
    await issuer?.close();
  });

  const databaseUrl = (service: Name) => {
    const url = databases.get(service);
    if (url === undefined) throw new Error(`${service} has no database here, only ${[...databases.keys()]}`);
    return url;
  };
  /** What one service is told besides what all are. */
  const environmentOf = (service: Name): Record<string, string> => {
    if (service === 'gateway') {
      const upstreams = services
        .filter((other) => other !== service)
        .map((other) => {
          const url = replicas.find((replica) => replica.service === other)?.url;
          if (url === undefined) throw new Error(`give ${other} an address before the gateway is started`);
          return [`${other.toUpperCase()}_URL`, url];
        });
      return { ...Object.fromEntries(upstreams), RATE_LIMIT: 'off' };
    }
    if (service === 'email')
      return {
        // Some users of a load have many orders.
        EMAILS_PER_HOUR: '1000',
        ...(mailbox !== undefined && { SMTP_URL: mailbox.url, MAIL_FROM: 'warren@example.com' }),
      };
    return {};
  };

  const issuerOf = () => {
    if (issuer === undefined) throw new Error('this system was made without `auth`');
    return issuer;
  };
  const authorize = options.auth ? tokensOf(issuerOf) : noTokens;
  const system: System = {
    services,
    get issuer() {
      return issuerOf();
    },
    authorize,
    broker,
    databaseServer: database,
    databaseUrl,
    adminUrl(service) {
      const url = new URL(database.adminUrl);
      url.pathname = new URL(databaseUrl(service)).pathname;
      return url.href;
    },
    sql: (service, text, values) => query(system.adminUrl(service), text, values),
    get mailbox() {
      return mailbox;
    },
    recorder,
    async replica(service, env = {}) {
      const replica = await createReplica(service, () => ({
        AMQP_URL: broker.url(service),
        OPERATORS: broker.operator,
        ...(isStateful(service) && { DATABASE_URL: databaseUrl(service) }),
        ...environmentOf(service),
        ...issuer?.env,
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
    async runAll(env = {}) {
      const all: Partial<Record<Name, Replica>> = {};
      for (const service of everyService.filter((each) => services.includes(each)))
        all[service] = await system.replica(service, env[service]);
      for (const replica of Object.values(all)) replica.start();
      await Promise.all(Object.values(all).map((replica) => replica.ready()));
      return all as Record<Name, Replica>;
    },
    ledger,
    orders,
    load(load) {
      const started = startLoad({ ...load, authorize, ledger });
      loads.push(started);
      return started;
    },
    business(business) {
      const started = startBusiness({ ...business, authorize, ledger, orderLedger: orders });
      loads.push(started);
      return started;
    },
    end: (signal = 'SIGTERM') =>
      Promise.all(replicas.filter(({ running }) => running).map((replica) => replica.end(signal))),
    accounts: (wanted) => takeAccounts(system, wanted),
  };
  return system;
}
