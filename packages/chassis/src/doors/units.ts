// Units of work on an application's own driver or ORM: one transaction for a batch, and its handlers one after the other in it,
// because an ORM runs the statements of a transaction one by one.
import {
  BatchError,
  type BatchOptions,
  type Log,
  type Origin,
  type PieceOfWork,
  type UnitsOfWork,
  type WorkContext,
} from '../context.ts';
import { isDatabaseUnavailable, sqlStateOf } from '../database/outage.ts';
import { FAILED_BEFORE, type Result, type Statement } from '../database/pipeline.ts';
import { culpritsOf, Left, type OnCommit, workContext } from '../units-of-work.ts';
import { type Opened, transact } from './abortable-transaction.ts';
import type { Adapter } from './adapter.ts';
import { insertEventsAsJson } from './events.ts';

export interface AdapterUnitsOptions<Handle> {
  service: string;
  adapter: Adapter<Handle>;
  /** Routing keys of the events that may be emitted. */
  publications: ReadonlySet<string>;
  log: Log;
  now: () => Date;
  onCommit: OnCommit;
}

/** A handler has ended or spoilt the transaction, and has not failed. */
class SpoiltError extends Error {
  override readonly name = 'SpoiltError';
}

export function createAdapterUnits<Handle>(options: AdapterUnitsOptions<Handle>): Pick<UnitsOfWork, 'batch'> {
  async function batch<Piece extends PieceOfWork>(
    pieces: readonly Piece[],
    batchOptions: BatchOptions<Piece> = {},
  ): Promise<void> {
    const failures = new Map<Piece, unknown>();
    const left = new Left();
    try {
      await transact(
        options.adapter,
        async (opened) => {
          await runPieces(pieces, batchOptions, { options, opened, left, failures });
          for (const statement of left.statements(insertEventsAsJson)) await sendOn(opened)(statement);
        },
        batchOptions.signal,
      );
    } catch (error) {
      throw new BatchError(error, culpritsOf(failures));
    }
    left.committed(options.onCommit);
  }
  return { batch };
}

interface Unit<Handle, Piece> {
  options: AdapterUnitsOptions<Handle>;
  opened: Opened<Handle>;
  left: Left;
  failures: Map<Piece, unknown>;
}

/** Those of one key in their order; keys in one order, so that replicas wait for each other in it. */
async function runPieces<Handle, Piece extends PieceOfWork>(
  pieces: readonly Piece[],
  { first, signal }: BatchOptions<Piece>,
  unit: Unit<Handle, Piece>,
): Promise<void> {
  const { opened, failures } = unit;
  let transactionId: unknown;
  const chosen =
    (await first?.(async (statement) => {
      const { rows } = await sendOn(opened)(withTransactionId(statement));
      transactionId = rows[0]?.xid;
      opened.pid = rows[0]?.pid;
      return { command: null, rowCount: rows.length, rows };
    })) ?? pieces;
  const lanes = [...Map.groupBy(chosen, ({ key }) => key)].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const piece of lanes.flatMap(([, lane]) => lane)) {
    signal?.throwIfAborted();
    const onAbort = () => failures.set(piece, signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      await piece.run(contextOf(piece.origin, unit, signal), { hasWritten: () => true });
      await checkTransaction(opened, transactionId);
    } catch (error) {
      if (!failures.has(piece)) failures.set(piece, error);
      throw error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }
}

const sendOn =
  ({ query }: Pick<Opened<unknown>, 'query'>) =>
  async ({ text, values = [] }: Statement): Promise<Result> => {
    const rows = [...(await query(text, values))];
    return { command: null, rowCount: rows.length, rows };
  };

/** A statement that writes, and returns its rows; with each the ids of the transaction and of the server process. */
const withTransactionId = ({ text, values = [] }: Statement): Statement => ({
  text: `with first as (${text})
    select first.*, pg_current_xact_id()::text as xid, pg_backend_pid() as pid from first`,
  values,
});

/**
 * A handler may ignore the error of a statement, after which PostgreSQL would answer COMMIT with ROLLBACK, and most ORMs would not
 * notice; or it may end the transaction itself, after which the next handler would run in none.
 */
async function checkTransaction({ query }: Pick<Opened<unknown>, 'query'>, expected: unknown): Promise<void> {
  try {
    const [row] = await query('select pg_current_xact_id_if_assigned()::text as xid', []);
    if (row?.xid === expected) return;
  } catch (error) {
    if (sqlStateOf(error) === FAILED_BEFORE)
      throw new SpoiltError(
        'nothing can be committed: a statement failed, and the handler ignored its error',
        {
          cause: sqlErrorOf(error),
        },
      );
    if (isDatabaseUnavailable(error)) throw error;
    throw new SpoiltError(ENDED, { cause: sqlErrorOf(error) });
  }
  throw new SpoiltError(ENDED);
}

const ENDED = 'the handler has ended the transaction of its batch: leave commit and rollback to the consumer';

/** In words: the class of the cause must not decide what becomes of the event. */
const sqlErrorOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function contextOf<Handle>(
  origin: Origin,
  { options, opened, left }: Omit<Unit<Handle, unknown>, 'failures'>,
  signal: AbortSignal | undefined,
): WorkContext {
  // The handle of the ORM stands in place of Kysely's transaction.
  const member = { transaction: opened.handle as never, wrote: () => {} };
  return workContext({ ...options, config: undefined }, origin, member, left, sendOn(opened), signal);
}
