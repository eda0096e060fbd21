// A transaction that shows whether the database is usable: reachable, responding, writable, with free disk space.
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import type { Database } from './database.ts';

/** ms */
const PROBE_TIMEOUT_MS = 5_000;
/** Rows of the inbox that are written, and rolled back, to see whether there is room: about 200 KiB with their index. */
const ROWS = 1_000;
const INSUFFICIENT_PRIVILEGE = '42501';

/** @throws the reason why the database is not usable: the error of the transaction, read-only, or no response */
export async function probeDatabase(
  database: Database<unknown>,
  space: boolean,
  closing: AbortSignal,
): Promise<void> {
  const late = AbortSignal.timeout(PROBE_TIMEOUT_MS);
  await database
    .transaction(
      async (transaction) => {
        const { rows } = await sql<{ writable: boolean }>`
        select current_setting('transaction_read_only') = 'off' as writable`.execute(transaction);
        if (rows[0]?.writable !== true) throw new ReadOnlyError('the database is read-only');
        if (!space) return;
        await sql`
        insert into warren.inbox (consumer, message_id)
        select 'warren.probe', gen_random_uuid() from generate_series(1, ${ROWS})`.execute(transaction);
        // A new table needs new blocks, also if the inbox has free space inside its own; unless this role may not create tables.
        await sql`
        create table ${sql.id('warren', `probe_${randomUUID()}`)} as
        select n, repeat('x', 1000) as filling from generate_series(1, 200) n`
          .execute(transaction)
          .catch((error) => {
            if (error?.code !== INSUFFICIENT_PRIVILEGE) throw error;
          });
        throw new RolledBack();
      },
      AbortSignal.any([late, closing]),
    )
    .catch((error) => {
      if (error instanceof RolledBack) return;
      if (late.aborted)
        throw new Error(`the database did not respond within ${PROBE_TIMEOUT_MS / 1_000} s`, {
          cause: error,
        });
      throw error;
    });
}

class RolledBack extends Error {}

class ReadOnlyError extends Error {
  readonly code = '25006';
}
