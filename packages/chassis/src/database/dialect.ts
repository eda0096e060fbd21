// Kysely on pg's pool, with prepared statements; and on one transaction of it.
import {
  CompiledQuery,
  type ConnectionProvider,
  type DatabaseConnection,
  DefaultQueryExecutor,
  type Dialect,
  type Driver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryExecutorProvider,
  type QueryResult,
  Transaction,
} from 'kysely';
import pg from 'pg';
import { forgetNames, nameOf } from './names.ts';
import type { Result, Statement } from './pipeline.ts';
import type { Send } from './statements.ts';

const CHANGES = new Set(['INSERT', 'UPDATE', 'DELETE', 'MERGE']);

type Run = (statement: Statement) => Promise<Result>;

class Connection implements DatabaseConnection {
  readonly #run: Run;

  constructor(run: Run) {
    this.#run = run;
  }

  async executeQuery<Row>({ sql, parameters }: CompiledQuery): Promise<QueryResult<Row>> {
    try {
      const { command, rowCount, rows } = await this.#run({ text: sql, values: parameters });
      return CHANGES.has(command ?? '') ? { rows, numAffectedRows: BigInt(rowCount ?? 0) } : { rows };
    } catch (error) {
      // With the stack of the caller, not that of the socket.
      if (error instanceof pg.DatabaseError) Error.captureStackTrace(error, this.executeQuery);
      throw error;
    }
  }

  // biome-ignore lint/correctness/useYield: part of the interface
  async *streamQuery(): AsyncIterableIterator<never> {
    throw new Error('streaming is not supported: read in pages');
  }
}

class PoolConnection extends Connection {
  readonly client: pg.PoolClient;

  constructor(client: pg.PoolClient) {
    super(({ text, values = [] }) => runNamed(client, text, values as unknown[]));
    this.client = client;
  }
}

/** Outside a transaction, so that what failed for the sake of its name has had no effect, and is repeated. */
async function runNamed(client: pg.PoolClient, text: string, values: unknown[]): Promise<Result> {
  const run = () => {
    const name = nameOf(text);
    return client.query(name === undefined ? { text, values } : { name, text, values });
  };
  try {
    return await run();
  } catch (error) {
    if (!forgetNames(error)) throw error;
    return run();
  }
}

const compiler = new PostgresQueryCompiler();
const adapter = new PostgresAdapter();

const refuse = async (): Promise<never> => {
  throw new Error('use UnitsOfWork.run for a transaction');
};
const refusing: Driver = {
  init: async () => {},
  acquireConnection: refuse,
  releaseConnection: refuse,
  beginTransaction: refuse,
  commitTransaction: refuse,
  rollbackTransaction: refuse,
  destroy: refuse,
};

const dialectOf = (driver: Driver): Dialect => ({
  createDriver: () => driver,
  createQueryCompiler: () => compiler,
  createAdapter: () => adapter,
  createIntrospector: (db) => new PostgresIntrospector(db),
});
const refusingDialect = dialectOf(refusing);
const refusingConfig = { dialect: refusingDialect };

/**
 * Kysely on a pool.
 * @param close ends the pool
 */
export function kyselyOn<Schema>(
  connect: () => Promise<pg.PoolClient>,
  close: () => Promise<void>,
): Kysely<Schema> {
  const driver: Driver = {
    ...refusing,
    acquireConnection: async () => new PoolConnection(await connect()),
    releaseConnection: async (connection) => (connection as PoolConnection).client.release(),
    destroy: close,
  };
  return new Kysely<Schema>({ dialect: dialectOf(driver) });
}

/** Kysely on one transaction. Unlike Kysely's own, it does not make its statements wait for each other. */
export function transactionOn<Schema>(run: Run): Transaction<Schema> {
  const connection = new Connection(run);
  const provider: ConnectionProvider = { provideConnection: (consumer) => consumer(connection) };
  const executor = new DefaultQueryExecutor(compiler, adapter, provider);
  return new Transaction<Schema>({
    config: refusingConfig,
    driver: refusing,
    dialect: refusingDialect,
    executor,
  });
}

/** Statements on Kysely. */
export const sendOn =
  (database: QueryExecutorProvider): Send =>
  async ({ text, values = [] }) => {
    const { rows } = await database.getExecutor().executeQuery(CompiledQuery.raw(text, [...values]));
    return { rows };
  };
