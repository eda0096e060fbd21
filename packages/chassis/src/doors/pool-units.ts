// Units of work on a pool of pg: as in a Warren service, the handlers of a batch run at once, and their statements share round trips.

import type { Kysely } from 'kysely';
import type pg from 'pg';
import type { Log, UnitsOfWork } from '../context.ts';
import { ConnectError } from '../database/outage.ts';
import type { Result, Statement } from '../database/pipeline.ts';
import { type Share, sharedOn } from '../database/transaction.ts';
import { WarrenError } from '../errors.ts';
import { createUnitsOfWork, type UnitsOfWorkOptions } from '../units-of-work.ts';

export interface PoolUnitsOptions
  extends Pick<UnitsOfWorkOptions<unknown, unknown>, 'service' | 'publications' | 'now' | 'onCommit'> {
  pool: pg.Pool;
  log: Log;
}

export function createPoolUnits({ pool, log, ...options }: PoolUnitsOptions): Pick<UnitsOfWork, 'batch'> {
  const share = sharedOn<pg.ClientBase>({
    connect: () => connectTo(pool),
    transactionOn: pipelined,
    log,
    onUnavailable: () => {},
  });
  return createUnitsOfWork<unknown, undefined>({
    ...options,
    config: undefined,
    // Handlers get a client where those of a service get Kysely's transaction.
    database: { kysely: undefined as unknown as Kysely<unknown>, share: share as unknown as Share<never> },
  });
}

/** An error of a connection in use, which also fails its query or the next one. Without a listener it would end the process. */
const ignore = (): void => {};

async function connectTo(pool: pg.Pool): Promise<pg.PoolClient> {
  const client = await pool.connect().catch((error) => {
    throw new ConnectError(error);
  });
  client.on('error', ignore);
  const release = client.release.bind(client);
  client.release = (error) => {
    client.off('error', ignore);
    release(error);
  };
  if (!('native' in client)) return client;
  client.release();
  throw new WarrenError(
    'invalid_service',
    'pg-native cannot pipeline statements: use the Client of pg itself',
  );
}

/**
 * The client of a transaction: its queries share round trips with those of other handlers. It has neither callbacks nor cursors, which
 * would be sent before the BEGIN.
 */
function pipelined(run: (statement: Statement) => Promise<Result>, client: pg.PoolClient): pg.ClientBase {
  const query = async (given: unknown, values?: unknown, callback?: unknown): Promise<unknown> => {
    if ([given, values, callback].some((argument) => typeof argument === 'function') || isSubmittable(given))
      throw new Error(
        'a handler has no callbacks and no cursors on its transaction: await query(text, values)',
      );
    const statement = statementOf(given, values);
    const text = statement?.text ?? String((given as pg.QueryConfig | undefined)?.text ?? given);
    if (OF_THE_BATCH.test(text))
      throw new Error(
        `a handler shares its transaction with others, and may not run "${text.trim().slice(0, 40)}"`,
      );
    if (statement !== undefined) return { ...(await run(statement)), oid: 0 };
    // What the pipeline cannot send goes after what it has sent.
    await run({ text: 'select' });
    return client.query(given as string, values as unknown[]);
  };
  const release = () => {
    throw new Error('the consumer releases this client: it belongs to the transaction of a batch');
  };
  return Object.create(client, { query: { value: query }, release: { value: release } }) as pg.ClientBase;
}

/** What would end the transaction, or undo what other handlers have done meanwhile. */
const OF_THE_BATCH =
  /(^|;)\s*(begin|start|commit|end|rollback|abort|savepoint|release|prepare\s+transaction|set\s+(local|transaction))\b/i;

const isSubmittable = (given: unknown): boolean =>
  typeof (given as { submit?: unknown } | undefined)?.submit === 'function';

/** @returns undefined for several statements in one text, and for a query with options of its own */
function statementOf(given: unknown, values: unknown): Statement | undefined {
  const query = typeof given === 'string' ? { text: given, values } : (given as pg.QueryConfig);
  if (Object.keys(query).some((key) => !['text', 'values', 'name'].includes(key))) return undefined;
  if (query.values === undefined && /;\s*\S/.test(query.text)) return undefined;
  return { text: query.text, values: (values ?? query.values ?? []) as unknown[] };
}
