// The idempotent inbox: a message's id is written in the transaction of its effect, so it has that effect once.
import { type QueryExecutorProvider, sql } from 'kysely';

/**
 * Notes that this consumer has taken this message.
 * @returns false when it had before, in which case there is nothing left to do
 */
export async function remember(
  transaction: QueryExecutorProvider,
  consumer: string,
  messageId: string,
): Promise<boolean> {
  const { numAffectedRows } = await sql`
    insert into warren.inbox (consumer, message_id) values (${consumer}, ${messageId})
    on conflict do nothing`.execute(transaction);
  return numAffectedRows === 1n;
}

const BATCH = 5_000;

/** Forgets what is older than `age` ms, in small transactions. Messages of that age are refused before they get here. */
export async function pruneInbox(database: QueryExecutorProvider, age: number): Promise<number> {
  let pruned = 0;
  for (;;) {
    const { numAffectedRows } = await sql`
      delete from warren.inbox where (consumer, message_id) in (
        select consumer, message_id from warren.inbox
        where received_at < now() - make_interval(secs => ${age / 1000}) limit ${BATCH})`.execute(database);
    pruned += Number(numAffectedRows ?? 0n);
    if (Number(numAffectedRows ?? 0n) < BATCH) return pruned;
  }
}
