// node-postgres: the handle is a client of the pool.
import { RolledBackError } from '../../database/pipeline.ts';
import type { Adapter } from '../adapter.ts';
import { onPool } from '../pools.ts';

interface PgClient {
  query(text: string, values: unknown[]): Promise<{ rows: Record<string, unknown>[]; command: string }>;
  release(error?: Error | boolean): void;
}

/** What the adapter needs of a `pg.Pool`. */
interface PgPool {
  connect(): Promise<PgClient>;
}

/** What the pool's `connect` resolves with: `pg.PoolClient`. */
type ClientOf<Pool extends PgPool> = Pool extends {
  connect: { (): Promise<infer Client>; (callback: never): void };
}
  ? Client
  : Awaited<ReturnType<Pool['connect']>>;

/**
 * Its `transaction` rejects with a `RolledBackError` when a statement has failed, and `run` has ignored that.
 * @example const adapter = pgAdapter(new pg.Pool({ connectionString }));
 */
export function pgAdapter<Pool extends PgPool>(pool: Pool): Adapter<ClientOf<Pool>> {
  const adapter: Adapter<ClientOf<Pool>> = {
    query: (client) => async (text, values) => (await (client as PgClient).query(text, [...values])).rows,
    async transaction(run) {
      const client = await pool.connect();
      try {
        await client.query('begin', []);
        const result = await run(client as ClientOf<Pool>);
        // PostgreSQL responds ROLLBACK if a statement has failed.
        if ((await client.query('commit', [])).command !== 'COMMIT') throw new RolledBackError();
        client.release();
        return result;
      } catch (error) {
        const isRolledBack = await client.query('rollback', []).then(
          () => true,
          () => false,
        );
        client.release(!isRolledBack);
        throw error;
      }
    },
  };
  return onPool(adapter, pool);
}
