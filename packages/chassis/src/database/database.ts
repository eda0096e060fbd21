// PostgreSQL: a pool, Kysely on it, and transactions that a signal can cancel.
import { AsyncLocalStorage } from 'node:async_hooks';
import { Kysely, type KyselyPlugin, PostgresDialect, type Transaction } from 'kysely';
import pg from 'pg';
import type { Logger } from '../context.ts';

export interface DatabaseOptions {
  url: string;
  /** Most connections at once; they are opened when needed and closed after ten idle seconds. */
  connections: number;
  /** ms a statement may take; no limit when absent. */
  statementTimeout?: number;
  /** Seen in pg_stat_activity. */
  name: string;
  log: Logger;
}

export interface Database<Schema> {
  kysely: Kysely<Schema>;
  /**
   * One READ COMMITTED transaction. Aborting the signal cancels the running statement, refuses further ones,
   * rolls back, and rejects with the signal's reason.
   */
  transaction<T>(run: (transaction: Transaction<Schema>) => Promise<T>, signal?: AbortSignal): Promise<T>;
  stats(): { total: number; idle: number; waiting: number };
  close(): Promise<void>;
}

/** Opens nothing yet: the first query does. */
export function openDatabase<Schema>({
  url,
  connections,
  name,
  log,
  statementTimeout,
}: DatabaseOptions): Database<Schema> {
  const settings: pg.PoolConfig = {
    connectionString: url,
    application_name: name,
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
  };
  const pool = new pg.Pool({ ...settings, max: connections, idleTimeoutMillis: 10_000 });
  // Not as a start-up parameter, which poolers refuse. Queued before whatever the connection was opened for.
  if (statementTimeout !== undefined)
    pool.on(
      'connect',
      (client) => void client.query(`set statement_timeout = ${statementTimeout}`).catch(() => {}),
    );
  pool.on('error', (error) => log.debug({ err: error }, 'an idle database connection was lost'));
  // Cancelling takes a connection of its own: the pool may be what is exhausted.
  const cancellers = new pg.Pool({ ...settings, max: 1, idleTimeoutMillis: 1_000 });
  cancellers.on('error', () => {});
  // The pool listens to idle clients alone. One that is lost in use also fails its query, and that is where it is handled.
  for (const each of [pool, cancellers]) each.on('connect', (client) => client.on('error', () => {}));

  const current = new AsyncLocalStorage<{ client?: pg.PoolClient }>();
  const kysely = new Kysely<Schema>({
    dialect: new PostgresDialect({
      pool: {
        options: {},
        connect: async () => {
          const client = await pool.connect();
          const holder = current.getStore();
          if (holder !== undefined && holder.client === undefined) holder.client = client;
          return client;
        },
        end: () => pool.end(),
      } as ConstructorParameters<typeof PostgresDialect>[0]['pool'],
    }),
  });

  async function cancel(client: pg.PoolClient | undefined): Promise<void> {
    const pid = (client as { processID?: number | null } | undefined)?.processID;
    if (pid === undefined || pid === null) return;
    try {
      await cancellers.query('select pg_cancel_backend($1)', [pid]);
    } catch (error) {
      log.warn({ err: error }, 'a statement past its deadline could not be cancelled');
    }
  }

  return {
    kysely,

    async transaction(run, signal) {
      if (signal === undefined) return kysely.transaction().execute(run);
      signal.throwIfAborted();
      const holder: { client?: pg.PoolClient } = {};
      return current.run(holder, () =>
        kysely.transaction().execute(async (transaction) => {
          let cancelling: Promise<void> | undefined;
          const abort = () => {
            cancelling = cancel(holder.client);
          };
          signal.addEventListener('abort', abort, { once: true });
          try {
            signal.throwIfAborted();
            const result = await run(transaction.withPlugin(refuseAfter(signal)));
            signal.throwIfAborted();
            return result;
          } catch (error) {
            throw signal.aborted ? signal.reason : error;
          } finally {
            signal.removeEventListener('abort', abort);
            // The connection must not go back to the pool while a cancel request for it is on its way.
            await cancelling;
          }
        }),
      );
    },

    stats: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),

    async close() {
      await kysely.destroy();
      await cancellers.end();
    },
  };
}

const refuseAfter = (signal: AbortSignal): KyselyPlugin => ({
  transformQuery({ node }) {
    signal.throwIfAborted();
    return node;
  },
  transformResult: async ({ result }) => result,
});

/**
 * True for errors that say the database is away or refuses everybody, not that this statement is wrong: no connection,
 * shutting down, starting up, too many connections, read-only after a failover.
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = (error as { code?: unknown }).code;
  if (typeof code === 'string') {
    if (/^(08...|57P0[1-5]|53300|25006)$/.test(code)) return true;
    if (/^(ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)$/.test(code))
      return true;
  }
  if (
    /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed)/.test(
      error.message,
    )
  )
    return true;
  if (error instanceof AggregateError) return error.errors.some(isDatabaseUnavailable);
  return error.cause !== undefined && isDatabaseUnavailable(error.cause);
}
