// Transactions of an application's own driver or ORM, which a signal can end. The port has no way to cancel a statement, so a second
// connection does it, as `psql` would: first the statement (`pg_cancel_backend`), later the connection (`pg_terminate_backend`).
import { pause, within } from '../concurrency.ts';
import { ConnectError } from '../database/outage.ts';
import type { Send } from '../database/statements.ts';
import type { Adapter, Query } from './adapter.ts';

/** ms for an aborted transaction to end before its connection is terminated; and then before it is given up. */
const CANCEL_TIMEOUT_MS = 2_000;

/** ms in which a driver notices that its connection was terminated. */
const TERMINATION_NOTICE_MS = 100;

/** An open transaction. */
export interface Opened<Handle> {
  handle: Handle;
  query: Query;
  /** The server process of its connection, once it is known. */
  pid: number | undefined;
}

/** Statements through a query of the port. */
export const sendOn =
  (query: Query): Send =>
  async ({ text, values = [] }) => ({ rows: [...(await query(text, values))] });

/**
 * Runs `run` in one transaction. When the signal aborts, the running statement is cancelled, the transaction is rolled back, and this
 * rejects with the signal's reason, at the latest after twice `CANCEL_TIMEOUT_MS`.
 * @throws {ConnectError} if the transaction cannot be begun
 */
export async function transact<Handle>(
  adapter: Adapter<Handle>,
  run: (opened: Opened<Handle>) => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted();
  const state: State<Handle> = { opened: undefined, isEnding: false, failure: undefined };
  const abortion = endOnAbort(adapter, state, signal);
  const running = adapter.transaction(async (handle) => {
    state.opened = { handle, query: adapter.query(handle), pid: undefined };
    try {
      signal?.throwIfAborted();
      await Promise.race([run(state.opened), abortion.terminated]);
      await abortion.cancelled();
      signal?.throwIfAborted();
    } catch (error) {
      // The ORM may reject with that of its ROLLBACK.
      state.failure = { error };
      throw error;
    } finally {
      state.isEnding = true;
      await abortion.cancelled();
    }
  });
  try {
    await Promise.race([running, abortion.givenUp]);
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (state.opened === undefined) throw new ConnectError(error);
    throw state.failure === undefined ? error : state.failure.error;
  } finally {
    abortion.close();
  }
}

interface State<Handle> {
  opened: Opened<Handle> | undefined;
  /** It is being committed or rolled back. */
  isEnding: boolean;
  failure: { error: unknown } | undefined;
}

function endOnAbort<Handle>(
  adapter: Adapter<Handle>,
  state: State<Handle>,
  signal: AbortSignal | undefined,
): {
  /** Rejects when the connection was terminated: its statements fail from now on. */
  terminated: Promise<never>;
  /** Rejects when the transaction cannot be ended: it has to be left to the driver. */
  givenUp: Promise<never>;
  /** The connection must not be used by others while a cancel request for it is in flight. */
  cancelled(): Promise<unknown>;
  close(): void;
} {
  const terminated = Promise.withResolvers<never>();
  const givenUp = Promise.withResolvers<never>();
  for (const { promise } of [terminated, givenUp]) promise.catch(() => {});
  const closed = new AbortController();
  let cancelling: Promise<unknown> | undefined;
  const onAbort = async () => {
    // A transaction that begins later finds the signal aborted.
    if (state.opened === undefined) return givenUp.reject(signal?.reason);
    // A COMMIT is not cancelled.
    if (!state.isEnding) cancelling = endBackend(adapter, 'pg_cancel_backend', state.opened.pid);
    await pause(CANCEL_TIMEOUT_MS, closed.signal);
    if (closed.signal.aborted) return;
    if (!state.isEnding) await endBackend(adapter, 'pg_terminate_backend', state.opened.pid);
    // A driver that sends ROLLBACK before it knows may throw where nobody catches it (postgres.js does).
    await pause(TERMINATION_NOTICE_MS);
    terminated.reject(signal?.reason);
    await pause(CANCEL_TIMEOUT_MS, closed.signal);
    givenUp.reject(signal?.reason);
  };
  const listener = () => void onAbort();
  signal?.addEventListener('abort', listener, { once: true });
  return {
    terminated: terminated.promise,
    givenUp: givenUp.promise,
    cancelled: async () => cancelling,
    close() {
      signal?.removeEventListener('abort', listener);
      closed.abort();
    },
  };
}

/** Gives up after `CANCEL_TIMEOUT_MS`: the pool may have no connection left. */
async function endBackend<Handle>(
  adapter: Adapter<Handle>,
  how: 'pg_cancel_backend' | 'pg_terminate_backend',
  pid: number | undefined,
): Promise<void> {
  if (pid === undefined) return;
  const ending = adapter.transaction((handle) => adapter.query(handle)(`select ${how}($1::int)`, [pid]));
  await within(
    CANCEL_TIMEOUT_MS,
    ending.then(
      () => {},
      () => {},
    ),
  );
}
