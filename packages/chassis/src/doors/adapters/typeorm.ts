// TypeORM: the handle is the `EntityManager` of the transaction.
import type { Adapter } from '../adapter.ts';

interface Manager {
  query(text: string, values: unknown[]): Promise<unknown>;
}

/** What the adapter needs of a `DataSource`. */
interface Source<EntityManager> {
  readonly manager: EntityManager;
  transaction<Result>(run: (manager: EntityManager) => Promise<Result>): Promise<Result>;
}

/**
 * @example const adapter = typeormAdapter(dataSource);
 */
export function typeormAdapter<EntityManager extends Manager>(
  source: Source<EntityManager>,
): Adapter<EntityManager> {
  return {
    query: (manager) => async (text, values) => {
      const result = (await manager.query(text, [...values])) as unknown[];
      // Of UPDATE and DELETE, TypeORM resolves with [rows, count].
      const rows = Array.isArray(result[0]) ? result[0] : result;
      return rows as Record<string, unknown>[];
    },
    transaction: (run) => source.transaction(run),
  };
}
