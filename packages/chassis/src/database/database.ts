// PostgreSQL: a pool, Kysely on it, and transactions that a signal can cancel.
import { AsyncLocalStorage } from 'node:async_hooks';
import { createConnection, type Socket } from 'node:net';
import { Kysely, type KyselyPlugin, PostgresDialect, type Transaction } from 'kysely';
import pg from 'pg';
import type { Logger } from '../context.ts';
import { SESSION_SETTINGS } from './connect.ts';
import { ConnectError, isDatabaseUnavailable } from './outage.ts';

export interface DatabaseOptions {
  url: string;
  /** Most connections at once; they are opened when needed and closed after ten idle seconds. */
  connections: number;
  /** ms a statement may take; no limit when absent. */
  statementTimeout?: number;
  /** Seen in pg_stat_activity. */
  name: string;
  log: Logger;
  /** Called with each error of a connection or a transaction that means the database is unavailable. */
  onUnavailable?: (error: unknown) => void;
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

/** One transaction, as its connection and its statements see it. */
interface Unit {
  signal: AbortSignal | undefined;
  client?: pg.PoolClient;
  /** Its work is done, or has failed: no statement may follow. */
  ended: boolean;
  /** It met an outage: its connection is not used again, e.g. one that is read-only for as long as it lives. */
  isSpoilt: boolean;
}

const CANCEL_REQUEST = 80_877_102;
/** ms that the work of an aborted transaction, its statement and its end may take before the connection is given up. */
const PATIENCE = 2_000;

/** Opens nothing yet: the first query does. */
export function openDatabase<Schema>({
  url,
  connections,
  name,
  log,
  statementTimeout,
  onUnavailable = () => {},
}: DatabaseOptions): Database<Schema> {
  const pool = new pg.Pool({
    connectionString: url,
    application_name: name,
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
    max: connections,
    idleTimeoutMillis: 10_000,
  });
  pool.on('connect', (client) => {
    // The pool listens to idle clients alone. One that is lost in use also fails its query, and that is where it is handled.
    client.on('error', () => {});
    // Queued before whatever the connection was opened for.
    const timeout = statementTimeout === undefined ? '' : `; set statement_timeout = ${statementTimeout}`;
    client.query(SESSION_SETTINGS + timeout).catch(() => {});
  });
  pool.on('error', (error) => log.debug({ err: error }, 'an idle database connection was lost'));

  const current = new AsyncLocalStorage<Unit>();
  const connect = async () => {
    const unit = current.getStore();
    const connecting = pool.connect().catch((error) => {
      const unavailable = new ConnectError(error);
      onUnavailable(unavailable);
      throw unavailable;
    });
    if (unit === undefined || unit.client !== undefined) return connecting;
    try {
      const client = await abortable(connecting, unit.signal);
      const release = client.release.bind(client);
      client.release = (destroy) => release(destroy || unit.isSpoilt);
      unit.client = client;
      return client;
    } catch (error) {
      connecting.then((client) => client.release()).catch(() => {});
      throw error;
    }
  };
  const kysely = new Kysely<Schema>({
    dialect: new PostgresDialect({
      pool: { options: {}, connect, end: () => pool.end() } as ConstructorParameters<
        typeof PostgresDialect
      >[0]['pool'],
    }),
  });

  return {
    kysely,

    async transaction(run, signal) {
      const unit: Unit = { signal, ended: false, isSpoilt: false };
      let failure: unknown;
      let cancelling: Promise<void> | undefined;
      let timer: NodeJS.Timeout | undefined;
      const givenUp = Promise.withResolvers<never>();
      givenUp.promise.catch(() => {});
      const onAbort = () => {
        const { client } = unit;
        if (client === undefined) return;
        timer = setTimeout(() => {
          streamOf(client).destroy();
          givenUp.reject(signal?.reason);
        }, PATIENCE);
        // What is being committed is not cancelled.
        if (!unit.ended)
          cancelling = cancel(client).catch((error) =>
            log.warn({ err: error }, 'a statement past its deadline could not be cancelled'),
          );
      };
      signal?.throwIfAborted();
      signal?.addEventListener('abort', onAbort, { once: true });
      try {
        return await current.run(unit, () =>
          kysely.transaction().execute(async (transaction) => {
            try {
              signal?.throwIfAborted();
              const result = await Promise.race([
                run(transaction.withPlugin(refuseAfter(unit))),
                givenUp.promise,
              ]);
              signal?.throwIfAborted();
              return result;
            } catch (error) {
              failure = signal?.aborted ? signal.reason : error;
              unit.isSpoilt = isDatabaseUnavailable(failure);
              throw failure;
            } finally {
              unit.ended = true;
              // The connection must not go back to the pool while a cancel request for it is on its way.
              await cancelling;
            }
          }),
        );
      } catch (error) {
        // Not what came of the rollback: where that failed too, the connection is gone and nothing was kept.
        const reason = failure ?? (signal?.aborted ? signal.reason : error);
        if (!(reason instanceof ConnectError) && isDatabaseUnavailable(reason)) onUnavailable(reason);
        throw reason;
      } finally {
        signal?.removeEventListener('abort', onAbort);
        clearTimeout(timer);
      }
    },

    stats: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    close: () => kysely.destroy(),
  };
}

/** Rejects with the signal's reason when it aborts. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

const refuseAfter = (unit: Unit): KyselyPlugin => ({
  transformQuery({ node }) {
    unit.signal?.throwIfAborted();
    if (unit.ended) throw new Error('this transaction has ended: wait for its statements before it does');
    return node;
  },
  transformResult: async ({ result }) => result,
});

const streamOf = (client: pg.PoolClient) =>
  (client as unknown as { connection: { stream: Socket } }).connection.stream;

/**
 * PostgreSQL's own way to cancel a statement: a packet on a connection that needs no login, and so is to be had when no
 * other is, and from a pooler too. Resolves when the server has passed it on.
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS
 */
function cancel(client: pg.PoolClient): Promise<void> {
  const { host, port, processID, secretKey } = client as unknown as Record<'host', string> &
    Record<'port' | 'processID' | 'secretKey', number>;
  const packet = Buffer.alloc(16);
  for (const [i, field] of [packet.length, CANCEL_REQUEST, processID, secretKey].entries())
    packet.writeInt32BE(field, i * 4);
  return new Promise((resolve, reject) => {
    const socket = host.startsWith('/')
      ? createConnection(`${host}/.s.PGSQL.${port}`)
      : createConnection(port, host);
    socket.setTimeout(PATIENCE, () => socket.destroy(new Error('the server did not answer')));
    socket.once('connect', () => socket.write(packet));
    socket.once('error', reject);
    socket.once('close', () => resolve());
    socket.resume();
  });
}
