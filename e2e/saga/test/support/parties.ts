// Order and payment as their service.ts describe them, each with its own database, but without what runs by itself in a service:
// its broker, its relay and its worker loops. When those do what is for the sequences to say.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type ServiceDescription, sql } from '@warren/chassis';
import { loadConfig } from '../../../../packages/chassis/src/config.ts';
import { type Database, openDatabase } from '../../../../packages/chassis/src/database/database.ts';
import { migrate } from '../../../../packages/chassis/src/database/migrate.ts';
import { createLog } from '../../../../packages/chassis/src/telemetry/log.ts';
import { root } from '../../../../scripts/tree.ts';

export type Name = 'order' | 'payment';

export interface Party {
  name: Name;
  description: ServiceDescription;
  // biome-ignore lint/suspicious/noExplicitAny: the tables of a service are its own affair
  database: Database<any>;
  config: Readonly<Record<string, unknown>>;
  /** Routing keys that it may publish. */
  publications: ReadonlySet<string>;
  outbox: Outbox;
}

export type Parties = Record<Name, Party>;

/** Ms that an order waits for its payment. */
export const PAYMENT_TIMEOUT = 15 * 60_000;
/** Minor units; what is above it is declined. */
export const LIMIT = 1000_00;

export const log = createLog({ service: 'saga', version: '0', level: 'silent' });

/** What a service says of itself: nothing else of its inside is looked at. */
async function describe(name: Name): Promise<ServiceDescription> {
  const { service } = await import(pathToFileURL(join(root, 'services', name, 'src', 'service.ts')).href);
  return service;
}

/** Migrates the database, and opens it. */
export async function openParty(name: Name, url: string, connections: number): Promise<Party> {
  const description = await describe(name);
  const { migrations, broker } = description;
  if (migrations === undefined || broker === undefined)
    throw new Error(`${name} has a database and a broker, or it would have no part in the saga`);
  const chassis = new URL('../../../../packages/chassis/migrations/', import.meta.url);
  const sets = [
    { name: 'chassis', directory: chassis },
    { name, directory: migrations },
  ];
  await migrate(url, sets, log);
  const config = loadConfig<Record<string, unknown>>({
    schema: description.config ?? {},
    database: true,
    broker: true,
    env: {
      DATABASE_URL: url,
      AMQP_URL: 'amqp://nobody',
      PAYMENT_TIMEOUT: `${PAYMENT_TIMEOUT}ms`,
      PAYMENT_LIMIT: (LIMIT / 100).toFixed(2),
      PROVIDER_LATENCY: '0ms',
    },
  });
  // What a crash of the server would lose is not what is tested here.
  const hurried = new URL(url);
  hurried.searchParams.set('options', '-c synchronous_commit=off');
  const database = openDatabase({ url: hurried.href, connections, name: `${name} saga`, log });
  return {
    name,
    description,
    database,
    config,
    publications: new Set(Object.keys(broker.vhosts.publish.publications ?? {})),
    outbox: new Outbox(database),
  };
}

export interface Published {
  type: string;
  body: string;
}

/** Takes events out of a service's outbox, as its relay does: of all sequences that ask at the same time in one statement. */
class Outbox {
  readonly #database: Party['database'];
  #asking = new Map<string, PromiseWithResolvers<Published[]>>();
  #busy = false;

  constructor(database: Party['database']) {
    this.#database = database;
  }

  /** Of one sequence, in the order of their ids. */
  take(correlationId: string): Promise<Published[]> {
    const asked = Promise.withResolvers<Published[]>();
    this.#asking.set(correlationId, asked);
    if (!this.#busy) void this.#serve();
    return asked.promise;
  }

  async #serve(): Promise<void> {
    this.#busy = true;
    while (this.#asking.size > 0) {
      const asking = this.#asking;
      this.#asking = new Map();
      try {
        const { rows } = await sql<Published & { id: string; correlation_id: string }>`
          delete from warren.outbox where correlation_id = any (${[...asking.keys()]})
          returning id, correlation_id, type, body`.execute(this.#database.kysely);
        rows.sort((a, b) => Number(a.id) - Number(b.id));
        for (const [id, { resolve }] of asking)
          resolve(rows.filter(({ correlation_id }) => correlation_id === id));
      } catch (error) {
        for (const { reject } of asking.values()) reject(error);
      }
    }
    this.#busy = false;
  }
}
