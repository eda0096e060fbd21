// The idempotent inbox: a message's id is written in the transaction of its effect, so it has that effect once.
import { createHash } from 'node:crypto';
import { type QueryExecutorProvider, sql } from 'kysely';

const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;

/** What the inbox remembers of an event: its id if that is a UUID, else a UUID (version 8) made of source and id. */
export function inboxId({ source, id }: { source: string; id: string }): string {
  if (UUID.test(id)) return id;
  const hash = createHash('sha256')
    .update(JSON.stringify([source, id]))
    .digest();
  hash[6] = 0x80 | ((hash[6] as number) & 0x0f);
  hash[8] = 0x80 | ((hash[8] as number) & 0x3f);
  const hex = hash.toString('hex', 0, 16);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

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
