// The systems that are compared: what their processes are, and what they need on broker and database.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Definitions, findDefinitions, registerCleanup } from '@warren/testkit';

/** `same-work`: one INSERT, one INSERT, one UPDATE, two events. `product`: Warren's own services, saga, tasks and expiry included. */
export type Work = 'same-work' | 'product';
export type ServiceName = string;

export interface System {
  /** Unique, for settings and files: `nest`, `warren`, `warren-product`, … */
  name: string;
  /** For people. */
  title: string;
  work: Work;
  services: readonly Program[];
  /** What the broker has before the services start. Default: an empty vhost, and one user with every right. */
  definitions?: Definitions;
  /** Each counts rows that must be gone when all work is done. */
  leftovers: readonly { service: ServiceName; what: string; sql: string }[];
  /** It has Warren's inbox. */
  hasInbox: boolean;
}

/** A service of a system, as it is started. */
export interface Program {
  service: ServiceName;
  cwd: string;
  command: readonly [string, ...string[]];
  env: Record<string, string>;
  hasDatabase: boolean;
  /** SQL that makes its tables, where it does not make them itself. */
  tables?: string;
  /** It is told the addresses of the other services, as `USER_URL` and so on. */
  isGateway?: boolean;
  /** It answers 200 there when it is ready; without it, any answer to HTTP will do. */
  readyPath?: string;
}

const bench = fileURLToPath(new URL('..', import.meta.url));
export const checkout = join(bench, '..');

const tables = (file: string): string => readFileSync(join(bench, 'same-work', file), 'utf8');
const ORDERS = tables('order/migrations/001_orders.sql');
const PAYMENTS = tables('payment/migrations/001_payments.sql');
const TABLES: Partial<Record<ServiceName, string>> = { order: ORDERS, payment: PAYMENTS, saver: PAYMENTS };

/** Those of the flow, in the order in which a round runs them. @param base another checkout of Warren */
export function flowSystems(base?: string): System[] {
  return [
    peer('nest', 'NestJS microservices', ['payment', 'order']),
    peer('golevelup', 'golevelup', ['payment', 'order']),
    peer('by-hand', 'by hand', ['payment', 'order']),
    withOutbox(peer('outbox', 'pg-transactional-outbox', ['payment', 'order'])),
    ...checkouts(base).flatMap(({ name, title, of }) => [
      sameWork(name, title, of, { payment: 'payment', order: 'order' }),
      product(`${name}-product`, `${title}, the product`, of),
    ]),
  ];
}

/** A consumer that saves one row a message, without anything else. */
export const savers = (base?: string): System[] => [
  peer('nest', 'NestJS microservices', ['saver']),
  ...checkouts(base).map(({ name, title, of }) => sameWork(name, title, of, { payment: 'saver' })),
  sameWork('warren-door', 'Warren, consumer door on pg', checkout, { payment: 'saver-door' }),
];

/** A service whose outbox is filled. */
export const relays = (base?: string): System[] =>
  checkouts(base).map(({ name, title, of }) => sameWork(name, title, of, { order: 'order' }));

/** Every service of Warren, and what the flow needs of NestJS. */
export const wholeSystems = (base?: string): System[] => [
  peer('nest', 'NestJS microservices', ['payment', 'order']),
  ...checkouts(base).map(({ name, title, of }) => {
    const names = readdirSync(join(of, 'services')).filter((service) =>
      existsSync(join(of, 'services', service, 'src/main.ts')),
    );
    return warren(name, title, 'product', of, inServices(of, names));
  }),
];

/** What a sign-up goes through, from the gateway to its e-mails, in the order in which they are restarted. */
const SHOP: readonly ServiceName[] = ['user', 'session', 'order', 'payment', 'email', 'gateway'];

export const shops = (base?: string): System[] =>
  checkouts(base).map(({ name, title, of }) => {
    const shop = warren(name, title, 'product', of, inServices(of, SHOP));
    // The end of each session, weeks later.
    const leftovers = shop.leftovers.map((each) =>
      each.service === 'session' && each.what === 'tasks'
        ? { ...each, sql: `${each.sql} where kind <> 'session.expire'` }
        : each,
    );
    return { ...shop, leftovers };
  });

/** Nothing but a vhost. */
export const BARE: System = {
  name: 'raw',
  title: 'amqplib alone',
  work: 'same-work',
  services: [],
  leftovers: [],
  hasInbox: false,
};

/** The chassis's way to and from the broker, without a service and a database; see parts/. */
export const PARTS: System = {
  ...BARE,
  name: 'warren-parts',
  title: 'Warren without database',
  definitions: findDefinitions(checkout),
};

/** This checkout, and the other one. */
const checkouts = (base?: string) => [
  { name: 'warren', title: 'Warren', of: checkout },
  ...(base ? [{ name: 'base', title: 'Warren (base)', of: base }] : []),
];

function peer(name: string, title: string, services: readonly ServiceName[]): System {
  return {
    name,
    title,
    work: 'same-work',
    services: services.map((service) => ({
      service,
      cwd: bench,
      command: [process.execPath, join(bench, 'dist/peers', name, `${service}.js`)],
      env: {},
      hasDatabase: true,
      tables: TABLES[service],
    })),
    leftovers: [],
    hasInbox: false,
  };
}

/** Rows of its outboxes are marked when they are published. */
const withOutbox = (system: System): System => ({
  ...system,
  leftovers: system.services.map(({ service }) => ({
    service,
    what: 'outbox',
    sql: 'select count(*)::int as count from outbox where processed_at is null',
  })),
});

/** Programs of same-work/, by the service that each is to the broker, on the chassis of a checkout. */
function sameWork(name: string, title: string, of: string, programs: Record<ServiceName, string>): System {
  const home = sameWorkOn(of);
  const services = Object.entries(programs).map(([service, directory]) =>
    warrenProgram(service, join(home, directory), of),
  );
  return warren(name, title, 'same-work', of, services);
}

const homes = new Map<string, string>();

/** A copy of same-work/ whose shared packages are those of a checkout. */
function sameWorkOn(of: string): string {
  const made = homes.get(of);
  if (made !== undefined) return made;
  const home = mkdtempSync(join(tmpdir(), 'warren-bench-'));
  registerCleanup({ type: 'directory', path: home });
  cpSync(join(bench, 'same-work'), home, { recursive: true });
  mkdirSync(join(home, 'node_modules/@warren'), { recursive: true });
  for (const shared of ['chassis', 'contracts', 'events'])
    symlinkSync(join(of, 'packages', shared), join(home, 'node_modules/@warren', shared));
  // What an application without a service brings itself.
  for (const own of ['pg', 'pino'])
    symlinkSync(join(of, 'packages/chassis/node_modules', own), join(home, 'node_modules', own));
  writeFileSync(join(home, 'package.json'), JSON.stringify({ type: 'module' }));
  homes.set(of, home);
  return home;
}

const product = (name: string, title: string, of: string): System =>
  warren(name, title, 'product', of, inServices(of, ['payment', 'order', 'user']));

/** The provider of payments answers at once: the time that it takes is not Warren's. All clients have one address. */
const ENVIRONMENT: Record<ServiceName, Record<string, string>> = {
  payment: { PROVIDER_LATENCY: '0' },
  gateway: { RATE_LIMIT: 'off' },
};

const inServices = (of: string, names: readonly ServiceName[]): Program[] =>
  names.map((service) => warrenProgram(service, join(of, 'services', service), of, ENVIRONMENT[service]));

function warren(name: string, title: string, work: Work, of: string, services: Program[]): System {
  const stateful = services.filter(({ hasDatabase }) => hasDatabase);
  const leftovers = stateful.flatMap(({ service }) =>
    ['outbox', 'tasks'].map((table) => ({
      service,
      what: table,
      sql: `select count(*)::int as count from warren.${table}`,
    })),
  );
  return { name, title, work, services, definitions: findDefinitions(of), leftovers, hasInbox: true };
}

/** Started as the services of its checkout are: `npm start`, whose flags for Node.js are part of what is measured. */
function warrenProgram(
  service: ServiceName,
  cwd: string,
  of: string,
  env: Record<string, string> = {},
): Program {
  const manifest = JSON.parse(readFileSync(join(of, 'services', service, 'package.json'), 'utf8'));
  return {
    service,
    cwd,
    command: ['sh', '-c', manifest.scripts.start],
    env: { DRAIN_DELAY: '0', ...env },
    hasDatabase: existsSync(join(cwd, 'migrations')),
    isGateway: service === 'gateway',
    readyPath: '/readyz',
  };
}
