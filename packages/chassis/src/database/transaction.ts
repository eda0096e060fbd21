// Transactions on a pool of pg: shared by several pieces of work, pipelined, and cancelled by a signal.
import { createConnection } from 'node:net';
import type pg from 'pg';
import { abortable } from '../concurrency.ts';
import type { Log } from '../context.ts';
import { socketOf } from '../socket.ts';
import { isDatabaseUnavailable } from './outage.ts';
import { Pipeline, type Result, RolledBackError, type Statement } from './pipeline.ts';

/** Sends a statement, in one write with the others of the same turn. */
type Send = (statement: Statement) => Promise<Result>;

/** A transaction that several pieces of work share, each through a member of its own. */
export interface SharedTransaction<Handle> {
  member(): Member<Handle>;
  /** Sends a statement, in one write with the others of the same turn, also those of other members. */
  run(statement: Statement): Promise<Result>;
}

export interface Member<Handle> {
  transaction: Handle;
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

/** One READ COMMITTED transaction: commits when `run` resolves, rolls back and rejects with its error when it does not. */
export type Share<Handle> = <T>(
  run: (transaction: SharedTransaction<Handle>) => Promise<T>,
  options?: TransactionOptions,
) => Promise<T>;

interface SharedOptions<Handle> {
  connect: () => Promise<pg.PoolClient>;
  /** Makes what a piece of work runs its statements on. */
  transactionOn: (run: Send, client: pg.PoolClient) => Handle;
  log: Pick<Log, 'warn'>;
  /** Called with each error that means the database is unavailable. */
  onUnavailable: (error: unknown) => void;
}

const CANCEL_REQUEST = 80_877_102;
/** Time for an aborted transaction to end before its connection is destroyed. */
const CANCEL_TIMEOUT_MS = 2_000;

/** Transactions on the connections of a pool. */
export function sharedOn<Handle>(options: SharedOptions<Handle>): Share<Handle> {
  return async (run, transactionOptions = {}) => {
    const { signal } = transactionOptions;
    signal?.throwIfAborted();
    try {
      const connecting = options.connect();
      const client = await abortable(connecting, signal).catch((error) => {
        connecting.then((late) => late.release()).catch(() => {});
        throw error;
      });
      return await runTransaction(client, run, transactionOptions, options);
    } catch (error) {
      if (isDatabaseUnavailable(error)) options.onUnavailable(error);
      throw error;
    }
  };
}

/** BEGIN goes with the first statement: without a statement there is no transaction. */
interface TransactionState {
  hasBegun: boolean;
  hasEnded: boolean;
}

async function runTransaction<Handle, T>(
  client: pg.PoolClient,
  run: (transaction: SharedTransaction<Handle>) => Promise<T>,
  { signal, last = () => [] }: TransactionOptions,
  { transactionOn, log }: Pick<SharedOptions<Handle>, 'transactionOn' | 'log'>,
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
    const shared = { run: send, member: () => memberOf(send, (run) => transactionOn(run, client)) };
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

function memberOf<Handle>(send: Send, transactionOn: (run: Send) => Handle): Member<Handle> {
  let hasEnded = false;
  let hasWritten = false;
  let running = 0;
  const transaction = transactionOn(async (statement) => {
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
  log: Pick<Log, 'warn'>,
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
