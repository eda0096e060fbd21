// The two ports through which Warren uses an application's own database connections, whatever its driver or ORM.

/**
 * Runs one statement in the caller's transaction, and resolves with the rows that it returns. Rejects with the driver's error.
 * @param text SQL with the placeholders `$1`, `$2`, …; none of them inside a quoted string
 */
export type Query = (text: string, values: readonly unknown[]) => Promise<readonly Record<string, unknown>[]>;

/**
 * How Warren uses the database through a driver or an ORM; `@warren/chassis/adapters/*` has the ready ones.
 * @typeParam Handle what the ORM calls its open transaction: `tx`, `trx`, an entity manager, a client
 * @example
 * const adapter: Adapter<PoolClient> = {
 *   query: (client) => async (text, values) => (await client.query(text, [...values])).rows,
 *   transaction: (run) => withTransaction(pool, run),
 * };
 */
export interface Adapter<Handle> {
  query(handle: Handle): Query;
  /** Commits when `run` resolves; rolls back and rejects with its error when it rejects. */
  transaction<Result>(run: (handle: Handle) => Promise<Result>): Promise<Result>;
}
