// How the kit sees what the service did with an event: by an event in consequence, in its database, or over HTTP.
import pg from 'pg';
import type { Recorded } from '../rabbitmq/probe.ts';
import type { Draft } from './draft.ts';
import { CheckError, type EffectsOptions } from './options.ts';
import { valueAt } from './sample.ts';

export interface Effects {
  /** How many effects the event has had so far. */
  count(draft: Draft): Promise<number>;
  close(): Promise<void>;
}

/** @param published the events of the service so far */
export async function effectsBy(
  options: EffectsOptions = {},
  published: () => readonly Recorded[],
): Promise<Effects> {
  if ('sql' in options) return bySql(options);
  if ('url' in options) return byUrl(options.url);
  return byEvents(options.event, published);
}

/**
 * Events that name the message as their cause, or, if they name no cause, its correlation id. Counted by their ids, because a
 * publisher may repeat itself; of events of several types, the most of one type.
 */
function byEvents(key: string | undefined, published: () => readonly Recorded[]): Effects {
  return {
    async count(draft) {
      const types = new Map<string, Set<unknown>>();
      for (const { body, routingKey } of published()) {
        if (key !== undefined && routingKey !== key) continue;
        const isCaused = isCausedBy(draft, body ?? {});
        if (isCaused) types.set(routingKey, (types.get(routingKey) ?? new Set()).add(body.id));
      }
      return Math.max(0, ...[...types.values()].map(({ size }) => size));
    },
    close: async () => {},
  };
}

function isCausedBy(
  { event, twin }: Draft,
  { causationid, correlationid }: { causationid?: unknown; correlationid?: unknown },
): boolean {
  if (!causationid) return correlationid === (event.correlationid ?? event.id);
  return causationid === event.id && (twin === undefined || correlationid !== twin.event.correlationid);
}

const PATH = /\{([\w.-]+)\}/g;

async function bySql({ sql, databaseUrl }: { sql: string; databaseUrl: string }): Promise<Effects> {
  const paths = [...new Set([...sql.matchAll(PATH)].map(([, path]) => path as string))];
  const first = /\$1\b/.test(sql) ? 1 : 0;
  const text = sql.replace(PATH, (_, path: string) => `$${paths.indexOf(path) + 1 + first}`);
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 5 });
  pool.on('error', () => {});
  const run = async (values: unknown[]) => {
    const { rows } = await pool.query({ text, values, rowMode: 'array' });
    return Number(rows[0]?.[0]);
  };
  const valuesOf = (event: object) => [
    ...(first === 1 ? [valueAt(event, 'id')] : []),
    ...paths.map((path) => valueAt(event, path)),
  ];
  return {
    async count({ event, data }) {
      const count = await run(valuesOf({ ...event, data })).catch((error: Error & { code?: string }) => {
        // The service makes its tables when it first starts.
        if (error.code === '42P01' || error.code === '3F000') return 0;
        // An id that is not a UUID cannot be in a column of UUIDs.
        if (error.code === '22P02') return 0;
        throw new CheckError(`the query for effects failed: ${error.message}`, { cause: error });
      });
      if (!Number.isInteger(count))
        throw new CheckError('the query for effects has to return a count: select count(*) …');
      return count;
    },
    close: () => pool.end(),
  };
}

function byUrl(template: string): Effects {
  return {
    async count({ event, data }) {
      const whole = { ...event, data };
      const url = template.replace(PATH, (_, path: string) =>
        encodeURIComponent(String(valueAt(whole, path))),
      );
      const response = await fetch(url, { signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
      // It may be starting.
      if (response === undefined || response.status >= 500 || response.status === 404) return 0;
      if (!response.ok)
        throw new CheckError(`${url} returned ${response.status}: it has to return the effects of one event`);
      return sizeOf(await response.json(), url);
    },
    close: async () => {},
  };
}

function sizeOf(body: unknown, url: string): number {
  if (typeof body === 'number') return body;
  const items = Array.isArray(body) ? body : (body as { items?: unknown } | null)?.items;
  if (Array.isArray(items)) return items.length;
  throw new CheckError(`${url} has to return a number, a list, or an object with a list \`items\``);
}
