// PostgreSQL: a pool, Kysely on it, and transactions that a signal can cancel.
import { createConnection } from 'node:net';
import type { Kysely, Transaction } from 'kysely';
import pg from 'pg';
import { abortable } from '../concurrency.ts';
import type { Logger } from '../context.ts';
import { socketOf } from '../socket.ts';
import { SESSION_SETTINGS } from './connect.ts';
import { kyselyOn, transactionOn } from './dialect.ts';
import { ConnectError, isDatabaseUnavailable } from './outage.ts';
import { Pipeline, type Result, RolledBackError, type Statement } from './pipeline.ts';

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

/** What a transaction is used through. */
export interface Unit<Schema> {
  /** For one user of it; of several, each has its own. Its statements and those of the others leave together. */
  member(): Member<Schema>;
  /** Sends a statement, in one write with the others of the same turn. */
  run(statement: Statement): Promise<Result>;
}

export interface Member<Schema> {
  transaction: Transaction<Schema>;
  /** Refuses further statements of this member. */
  end(): void;
  /** Whether a statement of its has changed something or failed, or runs; or `wrote` was called. */
  hasWritten(): boolean;
  wrote(): void;
}

export interface TransactionOptions {
  /** Aborting it cancels the running statement, refuses further ones, rolls back, and rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Called when the work is done: statements that leave in one write with the COMMIT. */
  last?: () => readonly Statement[];
}

export interface Database<Schema> {
  kysely: Kysely<Schema>;
  /** One READ COMMITTED transaction: commits when `run` resolves, rolls back and rejects with its error when it does not. */
  unit<T>(run: (unit: Unit<Schema>) => Promise<T>, options?: TransactionOptions): Promise<T>;
  /** The same, for one user of it. */
  transaction<T>(run: (transaction: Transaction<Schema>) => Promise<T>, signal?: AbortSignal): Promise<T>;
  stats(): { total: number; idle: number; waiting: number };
  close(): Promise<void>;
}

const CANCEL_REQUEST = 80_877_102;
/** ms that the work of an aborted transaction, its statement and its end may take before the connection is given up. */
const CANCEL_TIMEOUT_MS = 2_000;

/**
 * A prepared statement keeps the plan that was made when its table was empty. Where there is an index, it is to use that one; and
 * up to PostgreSQL 17 a statement without one would look so dear that the server compiles it.
 */
const PLANS = '; set enable_seqscan = off; set jit = off';

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
    client.query(SESSION_SETTINGS + PLANS + timeout).catch(() => {});
  });
  pool.on('error', (error) => log.debug({ err: error }, 'idle database connection lost'));

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

  async function inTransaction<T>(
    client: pg.PoolClient,
    run: (unit: Unit<Schema>) => Promise<T>,
    { signal, last = () => [] }: TransactionOptions,
  ): Promise<T> {
    const state = { ended: false };
    const pipeline = new Pipeline(client);
    const begun = pipeline.add({ text: 'begin' });
    begun.catch(() => {});
    let hasBegun = false;
    const send = (statement: Statement) => {
      signal?.throwIfAborted();
      if (state.ended) throw new Error('this transaction has ended: wait for its statements before it does');
      hasBegun = true;
      return pipeline.run(statement);
    };
    const cancellation = cancelOnAbort(client, signal, state, log);
    let spoilt: boolean | Error = false;
    try {
      const unit: Unit<Schema> = {
        run: send,
        member() {
          let ended = false;
          let hasWritten = false;
          let running = 0;
          const transaction = transactionOn<Schema>(async (statement) => {
            if (ended) throw new Error('this member of a transaction has ended');
            running += 1;
            try {
              const result = await send(statement);
              hasWritten ||= result.command !== 'SELECT' && result.rowCount !== 0;
              return result;
            } catch (error) {
              hasWritten = true;
              throw error;
            } finally {
              running -= 1;
            }
          });
          return {
            transaction,
            end() {
              ended = true;
            },
            hasWritten: () => hasWritten || running > 0,
            wrote() {
              hasWritten = true;
            },
          };
        },
      };
      const result = await Promise.race([run(unit), cancellation.givenUp]);
      signal?.throwIfAborted();
      state.ended = true;
      await cancellation.settled();
      const statements = last();
      if (hasBegun || statements.length > 0) await commit(pipeline, statements);
      return result;
    } catch (error) {
      state.ended = true;
      const failure = signal?.aborted ? signal.reason : error;
      // It is not used again: it may be read-only for as long as it lives.
      spoilt = isDatabaseUnavailable(failure);
      await cancellation.settled();
      if (hasBegun)
        await pipeline.run({ text: 'rollback' }).catch(() => {
          spoilt = true;
        });
      throw failure;
    } finally {
      cancellation.close();
      client.release(spoilt);
    }
  }

  async function unit<T>(
    run: (unit: Unit<Schema>) => Promise<T>,
    options: TransactionOptions = {},
  ): Promise<T> {
    const { signal } = options;
    signal?.throwIfAborted();
    const connecting = connect();
    const client = await abortable(connecting, signal).catch((error) => {
      connecting.then((late) => late.release()).catch(() => {});
      throw error;
    });
    try {
      return await inTransaction(client, run, options);
    } catch (error) {
      if (!(error instanceof ConnectError) && isDatabaseUnavailable(error)) onUnavailable(error);
      throw error;
    }
  }

  return {
    kysely,
    unit,
    transaction: (run, signal) => unit((opened) => run(opened.member().transaction), { signal }),

    stats: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    close: () => kysely.destroy(),
  };
}

/** Sends the last statements and the COMMIT in one write; rejects with the first error. */
async function commit(pipeline: Pipeline, statements: readonly Statement[]): Promise<void> {
  const running = [...statements, { text: 'commit' }].map((statement) => pipeline.run(statement));
  const [failed] = (await Promise.allSettled(running)).filter(({ status }) => status === 'rejected');
  if (failed !== undefined) throw (failed as PromiseRejectedResult).reason;
  // PostgreSQL answers ROLLBACK where a statement has failed.
  if ((await running.at(-1))?.command !== 'COMMIT') throw new RolledBackError();
}

/** Cancels what a transaction runs when the signal aborts; gives its connection up where that takes too long. */
function cancelOnAbort(
  client: pg.PoolClient,
  signal: AbortSignal | undefined,
  state: { ended: boolean },
  log: Logger,
) {
  const { promise: givenUp, reject } = Promise.withResolvers<never>();
  givenUp.catch(() => {});
  let cancelling: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  const onAbort = () => {
    timer = setTimeout(() => {
      socketOf(client).destroy();
      reject(signal?.reason);
    }, CANCEL_TIMEOUT_MS);
    // What is being committed is not cancelled.
    if (!state.ended)
      cancelling = cancel(client).catch((error) =>
        log.warn({ err: error }, 'cannot cancel a statement past its deadline'),
      );
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  return {
    givenUp,
    /** The connection must not be used by others while a cancel request for it is in flight. */
    settled: async () => cancelling,
    close() {
      signal?.removeEventListener('abort', onAbort);
      clearTimeout(timer);
    },
  };
}

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
    socket.setTimeout(CANCEL_TIMEOUT_MS, () => socket.destroy(new Error('the server did not answer')));
    socket.once('connect', () => socket.write(packet));
    socket.once('error', reject);
    socket.once('close', () => resolve());
    socket.resume();
  });
}
