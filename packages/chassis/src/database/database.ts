// PostgreSQL: a pool, and Kysely on it.
import type { Kysely, Transaction } from 'kysely';
import pg from 'pg';
import type { Logger } from '../context.ts';
import { SESSION_SETTINGS } from './connect.ts';
import { kyselyOn, transactionOn } from './dialect.ts';
import { ConnectError } from './outage.ts';
import { type Share, sharedOn } from './transaction.ts';

export interface DatabaseOptions {
  url: string;
  /** Connections at once, at most: opened when needed, closed after ten idle seconds. */
  connections: number;
  /** ms a statement may take; no limit when absent. */
  statementTimeout?: number;
  /** Shown in pg_stat_activity. */
  name: string;
  log: Logger;
  /** Called with each error of a connection or a transaction that means the database is unavailable. */
  onUnavailable?: (error: unknown) => void;
}

export interface Database<Schema> {
  kysely: Kysely<Schema>;
  share: Share<Transaction<Schema>>;
  /** As `share`, for one piece of work. */
  transaction<T>(run: (transaction: Transaction<Schema>) => Promise<T>, signal?: AbortSignal): Promise<T>;
  stats(): { total: number; idle: number; waiting: number };
  close(): Promise<void>;
}

const CONNECT_TIMEOUT_MS = 5_000;
const IDLE_TIMEOUT_MS = 10_000;

/**
 * A prepared statement keeps the plan that was made when its table was empty. It must use an index where one exists; and
 * up to PostgreSQL 17 a disabled plan carries a cost penalty, at which the server would compile the statement (JIT).
 */
const PLANS = '; set enable_seqscan = off; set jit = off';

/** Connects with the first query. */
export function openDatabase<Schema>(options: DatabaseOptions): Database<Schema> {
  const { log, onUnavailable = () => {} } = options;
  const pool = openPool(options);
  const connect = async () => {
    try {
      return await pool.connect();
    } catch (error) {
      const unavailable = new ConnectError(error);
      onUnavailable(unavailable);
      throw unavailable;
    }
  };
  const kysely = kyselyOn<Schema>(connect, () => pool.end());

  const share = sharedOn<Transaction<Schema>>({
    connect,
    transactionOn,
    log,
    onUnavailable: (error) => {
      if (!(error instanceof ConnectError)) onUnavailable(error);
    },
  });

  return {
    kysely,
    share,
    transaction: (run, signal) => share((shared) => run(shared.member().transaction), { signal }),
    stats: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    close: () => kysely.destroy(),
  };
}

function openPool({ url, connections, name, log, statementTimeout }: DatabaseOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString: url,
    application_name: name,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    max: connections,
    idleTimeoutMillis: IDLE_TIMEOUT_MS,
  });
  pool.on('connect', (client) => {
    // The pool listens to idle clients alone. A connection that is lost in use fails its query, which is handled there.
    client.on('error', () => {});
    // Queued before the query that the connection was opened for.
    const timeout = statementTimeout === undefined ? '' : `; set statement_timeout = ${statementTimeout}`;
    client.query(SESSION_SETTINGS + PLANS + timeout).catch(() => {});
  });
  pool.on('error', (error) => log.debug({ err: error }, 'idle database connection lost'));
  return pool;
}
