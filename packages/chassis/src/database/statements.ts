// Single statements, each in a transaction of its own or in one that is open.
import { CompiledQuery, type QueryExecutorProvider } from 'kysely';
import type { Result, Statement } from './pipeline.ts';

/** Runs one statement. */
export type Send = (statement: Statement) => Promise<Pick<Result, 'rows'>>;

/** Statements on Kysely. */
export const sendOn =
  (database: QueryExecutorProvider): Send =>
  async ({ text, values = [] }) => {
    const { rows } = await database.getExecutor().executeQuery(CompiledQuery.raw(text, [...values]));
    return { rows };
  };
