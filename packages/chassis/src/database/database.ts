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

/** A transaction that several pieces of work share, each through a member of its own. */
export interface SharedTransaction<Schema> {
  member(): Member<Schema>;
  /** Sends a statement, in one write with the others of the same turn, also those of other members. */
  run(statement: Statement): Promise<Result>;
}

export interface Member<Schema> {
  transaction: Transaction<Schema>;
  /** Refuses further statements of this member. */
  end(): void;
  /** Whether one of its statements runs, has failed or has changed something; or `wrote` was called. */
  hasWritten(): boolean;
  wrote(): void;
}

export interface TransactionOptions {
  /** Aborting it cancels the running statement, refuses further ones, rolls back, and rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Called after `run`: statements that are sent in one write with the COMMIT. */
  last?: () => readonly Statement[];
}

export interface Database<Schema> {
  kysely: Kysely<Schema>;
  /** One READ COMMITTED transaction: commits when `run` resolves, rolls back and rejects with its error when it does not. */
  share<T>(
    run: (transaction: SharedTransaction<Schema>) => Promise<T>,
    options?: TransactionOptions,
  ): Promise<T>;
  /** The same, for one piece of work. */
  transaction<T>(run: (transaction: Transaction<Schema>) => Promise<T>, signal?: AbortSignal): Promise<T>;
  stats(): { total: number; idle: number; waiting: number };
  close(): Promise<void>;
}

const CANCEL_REQUEST = 80_877_102;
const CONNECT_TIMEOUT_MS = 5_000;
const IDLE_TIMEOUT_MS = 10_000;
/** Time for an aborted transaction to end before its connection is destroyed. */
const CANCEL_TIMEOUT_MS = 2_000;

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

  const share: Database<Schema>['share'] = async (run, transactionOptions = {}) => {
    const { signal } = transactionOptions;
    signal?.throwIfAborted();
    const connecting = connect();
    const client = await abortable(connecting, signal).catch((error) => {
      connecting.then((late) => late.release()).catch(() => {});
      throw error;
    });
    try {
      return await runTransaction(client, run, transactionOptions, log);
    } catch (error) {
      if (!(error instanceof ConnectError) && isDatabaseUnavailable(error)) onUnavailable(error);
      throw error;
    }
  };

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

/** BEGIN goes with the first statement: without a statement there is no transaction. */
interface TransactionState {
  hasBegun: boolean;
  hasEnded: boolean;
}

async function runTransaction<Schema, T>(
  client: pg.PoolClient,
  run: (transaction: SharedTransaction<Schema>) => Promise<T>,
  { signal, last = () => [] }: TransactionOptions,
  log: Logger,
): Promise<T> {
  const state: TransactionState = { hasBegun: false, hasEnded: false };
  const pipeline = new Pipeline(client);
  const begun = pipeline.add({ text: 'begin' });
  begun.catch(() => {});
  const send = (statement: Statement) => {
    signal?.throwIfAborted();
    if (state.hasEnded) throw new Error('this transaction has ended: wait for its statements before it does');
    state.hasBegun = true;
    return pipeline.run(statement);
  };
  const cancellation = cancelOnAbort(client, signal, state, log);
  let isSpoilt = false;
  try {
    const shared = { run: send, member: () => memberOf<Schema>(send) };
    const result = await Promise.race([run(shared), cancellation.givenUp]);
    signal?.throwIfAborted();
    state.hasEnded = true;
    await cancellation.settled();
    const statements = last();
    if (state.hasBegun || statements.length > 0) await commit(pipeline, statements);
    return result;
  } catch (error) {
    state.hasEnded = true;
    const failure = signal?.aborted ? signal.reason : error;
    // A connection to a database that became read-only stays read-only: it is not used again.
    isSpoilt = isDatabaseUnavailable(failure);
    await cancellation.settled();
    if (state.hasBegun && !(await isRolledBack(pipeline))) isSpoilt = true;
    throw failure;
  } finally {
    cancellation.close();
    client.release(isSpoilt);
  }
}

function memberOf<Schema>(send: (statement: Statement) => Promise<Result>): Member<Schema> {
  let hasEnded = false;
  let hasWritten = false;
  let running = 0;
  const transaction = transactionOn<Schema>(async (statement) => {
    if (hasEnded) throw new Error('this member of a transaction has ended');
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
      hasEnded = true;
    },
    hasWritten: () => hasWritten || running > 0,
    wrote() {
      hasWritten = true;
    },
  };
}

const isRolledBack = (pipeline: Pipeline): Promise<boolean> =>
  pipeline.run({ text: 'rollback' }).then(
    () => true,
    () => false,
  );

/** Sends the last statements and the COMMIT in one write; rejects with the first error. */
async function commit(pipeline: Pipeline, statements: readonly Statement[]): Promise<void> {
  const running = [...statements, { text: 'commit' }].map((statement) => pipeline.run(statement));
  const [failed] = (await Promise.allSettled(running)).filter(({ status }) => status === 'rejected');
  if (failed !== undefined) throw (failed as PromiseRejectedResult).reason;
  // PostgreSQL responds ROLLBACK if a statement has failed.
  if ((await running.at(-1))?.command !== 'COMMIT') throw new RolledBackError();
}

/** Cancels the running statement when the signal aborts, and destroys the connection if that takes too long. */
function cancelOnAbort(
  client: pg.PoolClient,
  signal: AbortSignal | undefined,
  state: TransactionState,
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
    // A COMMIT is not cancelled.
    if (!state.hasEnded)
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
 * PostgreSQL's own way to cancel a statement: a packet on a connection that needs no login, and so works when no
 * other can be opened, and through a pooler. Resolves when the server has passed it on.
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
    socket.setTimeout(CANCEL_TIMEOUT_MS, () => socket.destroy(new Error('the server did not respond')));
    socket.once('connect', () => socket.write(packet));
    socket.once('error', reject);
    socket.once('close', () => resolve());
    socket.resume();
  });
}
