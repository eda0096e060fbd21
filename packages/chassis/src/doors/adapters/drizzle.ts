// Drizzle on node-postgres or on postgres.js: the handle is the transaction `tx`.
import type { Adapter } from '../adapter.ts';
import { splitPlaceholders } from '../placeholders.ts';

/** What the adapter needs of Drizzle's `sql`. */
interface DrizzleSql<Fragment> {
  raw(text: string): Fragment;
  param(value: unknown): unknown;
  join(fragments: never[], separator?: Fragment): Fragment;
}

/** What the adapter needs of a Drizzle database. */
interface DrizzleDatabase {
  // biome-ignore lint/suspicious/noExplicitAny: a callback of the database's own transaction type
  transaction(run: (transaction: any) => Promise<unknown>): Promise<unknown>;
}

/** `PgTransaction<…>` of the database. */
type TransactionOf<Database extends DrizzleDatabase> = Parameters<Parameters<Database['transaction']>[0]>[0];

interface DrizzleTransaction<Fragment> {
  execute(query: Fragment): Promise<unknown>;
}

/**
 * @param sql of `drizzle-orm`; the adapter takes the application's own copy
 * @example
 * import { sql } from 'drizzle-orm';
 * const adapter = drizzleAdapter(drizzle(pool), sql);
 */
export function drizzleAdapter<Database extends DrizzleDatabase, Fragment>(
  db: Database,
  sql: DrizzleSql<Fragment>,
): Adapter<TransactionOf<Database>> {
  return {
    query: (transaction) => async (text, values) => {
      const parts = splitPlaceholders(text, values);
      const fragments = parts.texts.flatMap((part, i) => [
        sql.raw(part),
        ...(i < parts.values.length ? [sql.param(parts.values[i])] : []),
      ]);
      const result = await (transaction as DrizzleTransaction<Fragment>).execute(
        sql.join(fragments as never[]),
      );
      // node-postgres resolves with a result, postgres.js with its rows.
      return (Array.isArray(result) ? result : (result as { rows: unknown[] }).rows) as Record<
        string,
        unknown
      >[];
    },
    transaction: async <Result>(run: (transaction: TransactionOf<Database>) => Promise<Result>) =>
      (await db.transaction(run)) as Result,
  };
}
