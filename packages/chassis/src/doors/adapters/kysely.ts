// Kysely: the handle is a `Transaction`.
import { CompiledQuery } from 'kysely';
import type { Adapter } from '../adapter.ts';

interface KyselyTransaction {
  executeQuery(query: CompiledQuery): Promise<{ rows: unknown[] }>;
}

/** What the adapter needs of a `Kysely` instance. */
interface KyselyDatabase {
  // biome-ignore lint/suspicious/noExplicitAny: a callback of the instance's own transaction type
  transaction(): { execute(run: (transaction: any) => Promise<unknown>): Promise<unknown> };
}

/** `Transaction<Schema>` of a `Kysely<Schema>`. */
type TransactionOf<Database extends KyselyDatabase> = Database extends {
  transaction(): { execute(run: (transaction: infer Transaction) => Promise<unknown>): Promise<unknown> };
}
  ? Transaction
  : never;

/**
 * @example const adapter = kyselyAdapter(new Kysely<Schema>({ dialect }));
 */
export function kyselyAdapter<Database extends KyselyDatabase>(
  db: Database,
): Adapter<TransactionOf<Database>> {
  return {
    query: (transaction) => async (text, values) => {
      const query = CompiledQuery.raw(text, [...values]);
      const { rows } = await (transaction as KyselyTransaction).executeQuery(query);
      return rows as Record<string, unknown>[];
    },
    transaction: async <Result>(run: (transaction: TransactionOf<Database>) => Promise<Result>) =>
      (await db.transaction().execute(run)) as Result,
  };
}
