import pg from 'pg';
import { query } from './database.ts';

export interface Held {
  /** Whether a transaction has inserted that row, and waits in its COMMIT with all its locks. */
  isReached(): Promise<boolean>;
  /** Whether another transaction waits for a lock of the held one. */
  isWaitedFor(): Promise<boolean>;
  /** Lets the transaction commit. */
  release(): Promise<void>;
}

/**
 * Makes transactions that insert a row into `table` wait in their COMMIT, where the row's `column` has a value that is held: a
 * deferred trigger takes an advisory lock of that value.
 *
 * @param url of a user who may create triggers on the table
 * @returns `hold`: holds a value, from before its row is inserted
 *
 * @example
 * const hold = await holdCommits(database.adminUrl, { table: 'warren.inbox', column: 'message_id' });
 * const held = await hold(event.id);
 */
export async function holdCommits(
  url: string,
  { table, column }: { table: string; column: string },
): Promise<(value: string) => Promise<Held>> {
  const lock = (value: string) => `hashtextextended('warren_hold.' || ${value}, 0)`;
  await query(
    url,
    `create schema warren_hold;
     grant usage on schema warren_hold to public;
     create function warren_hold.wait() returns trigger language plpgsql as $$
     begin
       perform pg_advisory_xact_lock_shared(${lock(`new.${pg.escapeIdentifier(column)}::text`)});
       return null;
     end $$;
     create constraint trigger warren_hold after insert on ${table.split('.').map(pg.escapeIdentifier).join('.')}
       deferrable initially deferred for each row execute function warren_hold.wait()`,
  );
  return async (value) => {
    const client = new pg.Client({ connectionString: url });
    client.on('error', () => {});
    await client.connect();
    const { rows } = await client.query(`select pg_backend_pid() as pid, pg_advisory_lock(${lock('$1')})`, [
      value,
    ]);
    /** Sessions that wait for ours, and sessions that wait for those. */
    const waiting = `with reached as (select pid from pg_stat_activity where $1::int = any (pg_blocking_pids(pid))),
      waiting as (select other.pid from pg_stat_activity other, reached where reached.pid = any (pg_blocking_pids(other.pid)))`;
    const isAny = async (from: 'reached' | 'waiting') =>
      (await query(url, `${waiting} select 1 from ${from}`, [rows[0].pid])).length > 0;
    return {
      isReached: () => isAny('reached'),
      isWaitedFor: () => isAny('waiting'),
      release: () => client.end(),
    };
  };
}
