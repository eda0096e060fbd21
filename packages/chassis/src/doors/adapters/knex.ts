// Knex: the handle is a `Knex.Transaction`.
import type { Adapter } from '../adapter.ts';
import { splitPlaceholders } from '../placeholders.ts';

interface KnexTransaction {
  raw(text: string, bindings: never): PromiseLike<{ rows: Record<string, unknown>[] }>;
}

/** What the adapter needs of a `Knex` instance. */
interface KnexDatabase {
  // biome-ignore lint/suspicious/noExplicitAny: a callback of the instance's own transaction type
  transaction(run: (transaction: any) => Promise<unknown>): Promise<unknown>;
}

/** `Knex.Transaction` of a `Knex`. */
type TransactionOf<Database extends KnexDatabase> = Parameters<Parameters<Database['transaction']>[0]>[0];

/**
 * @example const adapter = knexAdapter(knex({ client: 'pg', connection: databaseUrl }));
 */
export function knexAdapter<Database extends KnexDatabase>(db: Database): Adapter<TransactionOf<Database>> {
  return {
    query: (transaction) => async (text, values) => {
      const parts = splitPlaceholders(text, values);
      const withQuestionMarks = parts.texts.map((part) => part.replaceAll('?', '\\?')).join('?');
      return (await (transaction as KnexTransaction).raw(withQuestionMarks, parts.values as never)).rows;
    },
    transaction: async <Result>(run: (transaction: TransactionOf<Database>) => Promise<Result>) =>
      (await db.transaction(run)) as Result,
  };
}
