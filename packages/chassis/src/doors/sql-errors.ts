// Errors of PostgreSQL, as drivers and ORMs wrap them.
import { WarrenError } from '../errors.ts';

/** SQLSTATEs: no_active_sql_transaction, undefined_table, invalid_schema_name. */
const NO_TRANSACTION = '25P01';
const NO_TABLE = ['42P01', '3F000'];

/** An error of a statement on Warren's tables; those that have a remedy name it. */
export function explained(error: unknown): unknown {
  const state = sqlStateOf(error);
  if (state === NO_TRANSACTION)
    return new WarrenError(
      'transaction_missing',
      'emit: the handle is not an open transaction: pass the one of the transaction (tx), not the connection (db), and await emit inside it',
      { cause: error },
    );
  if (NO_TABLE.includes(state ?? ''))
    return new WarrenError(
      'schema_missing',
      "the database has no table warren.outbox: apply Warren's migrations (npx warren-migrate, or migrate() of @warren/chassis/migrations)",
      { cause: error },
    );
  return error;
}

/** The SQLSTATE of an error, wherever its driver or ORM keeps it; undefined if it has none. */
function sqlStateOf(error: unknown, depth = 0): string | undefined {
  if (typeof error !== 'object' || error === null || depth > 5) return undefined;
  const { code, originalCode, cause, driverError, meta, driverAdapterError } = error as Record<
    string,
    unknown
  >;
  // P1000 to P2999 are Prisma's own codes.
  for (const state of [originalCode, code])
    if (typeof state === 'string' && /^[0-9A-Z]{5}$/.test(state) && !/^P[12]\d{3}$/.test(state)) return state;
  for (const inner of [cause, driverError, meta, driverAdapterError]) {
    const state = sqlStateOf(inner, depth + 1);
    if (state !== undefined) return state;
  }
  return undefined;
}
