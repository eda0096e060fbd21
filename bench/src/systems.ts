// The systems that are compared: what their processes are, and what they need on broker and database.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Definitions, findDefinitions, keep } from '@warren/testkit';

/** `same-work`: one INSERT, one INSERT, one UPDATE, two events. `product`: Warren's own services, saga, tasks and expiry included. */
export type Work = 'same-work' | 'product';
export type ServiceName = 'order' | 'payment' | 'user';

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
  /** SQL that makes its tables, where it does not make them itself. */
  tables?: string;
  /** It answers 200 there when it is ready; without it, any answer to HTTP will do. */
  readyPath?: string;
}

const bench = fileURLToPath(new URL('..', import.meta.url));
export const checkout = join(bench, '..');

const TABLES: Partial<Record<ServiceName, string>> = {
  order: readFileSync(join(bench, 'same-work/order/migrations/001_orders.sql'), 'utf8'),
  payment: readFileSync(join(bench, 'same-work/payment/migrations/001_payments.sql'), 'utf8'),
};

/** All that there are, in the order in which a round runs them. @param base another checkout of Warren */
export function findSystems(base?: string): System[] {
  return [
    peer('nest', 'NestJS microservices'),
    peer('golevelup', 'golevelup'),
    peer('by-hand', 'by hand'),
    peer('outbox', 'pg-transactional-outbox', ['order', 'payment']),
    sameWork('warren', 'Warren', checkout),
    product('warren-product', 'Warren, the product', checkout),
    ...(base
      ? [sameWork('base', 'Warren (base)', base), product('base-product', 'Warren (base), the product', base)]
      : []),
  ];
}

/** @param outboxes services with a table `outbox` whose rows are marked when they are published */
function peer(name: string, title: string, outboxes: readonly ServiceName[] = []): System {
  const program = (service: ServiceName): Program => ({
    service,
    cwd: bench,
    command: [process.execPath, join(bench, 'dist/peers', name, `${service}.js`)],
    env: {},
    tables: TABLES[service],
  });
  return {
    name,
    title,
    work: 'same-work',
    services: [program('payment'), program('order')],
    leftovers: outboxes.map((service) => ({
      service,
      what: 'outbox',
      sql: 'select count(*)::int as count from outbox where processed_at is null',
    })),
    hasInbox: false,
  };
}

/** The two services of same-work/ on the chassis of a checkout. */
function sameWork(name: string, title: string, of: string): System {
  const home = mkdtempSync(join(tmpdir(), 'warren-bench-'));
  keep({ type: 'directory', path: home });
  cpSync(join(bench, 'same-work'), home, { recursive: true });
  mkdirSync(join(home, 'node_modules/@warren'), { recursive: true });
  for (const shared of ['chassis', 'contracts', 'events'])
    symlinkSync(join(of, 'packages', shared), join(home, 'node_modules/@warren', shared));
  writeFileSync(join(home, 'package.json'), JSON.stringify({ type: 'module' }));
  return warren(name, title, 'same-work', of, [
    warrenProgram('payment', join(home, 'payment'), of),
    warrenProgram('order', join(home, 'order'), of),
  ]);
}

function product(name: string, title: string, of: string): System {
  // The provider answers at once: what it takes is not Warren's.
  const env: Partial<Record<ServiceName, Record<string, string>>> = { payment: { PROVIDER_LATENCY: '0' } };
  const services = (['payment', 'order', 'user'] as const).map((service) =>
    warrenProgram(service, join(of, 'services', service), of, env[service]),
  );
  return warren(name, title, 'product', of, services);
}

function warren(name: string, title: string, work: Work, of: string, services: Program[]): System {
  const leftovers = services.flatMap(({ service }) =>
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
    readyPath: '/readyz',
  };
}
