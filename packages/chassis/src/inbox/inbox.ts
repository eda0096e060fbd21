// The idempotent inbox: a message's id is written in the transaction of its effect, so it has that effect once.
import { createHash } from 'node:crypto';
import { UNKEEPABLE } from '../database/json.ts';
import type { Statement } from '../database/pipeline.ts';
import type { Send } from '../database/statements.ts';

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

/** A message that is about to be handled. */
export interface InboxRow {
  id: string;
  /** Set if it has failed before. */
  attempts?: number;
  failures?: object;
}

/**
 * Inserts the ids of these messages; returns, as `message_id`, those that this consumer had not handled before, each once. The order
 * is that of the ids, so that two replicas with the same messages wait for each other in one order. One text holds them all, because
 * drivers differ in how they write arrays and JSON.
 */
export const insertMessages = (consumer: string, rows: readonly InboxRow[]): Statement => ({
  text: `
    insert into warren.inbox (consumer, message_id, attempts, failures)
    select $1::text, id, attempts, failures
    from json_to_recordset($2::text::json) as message (id uuid, attempts smallint, failures jsonb) order by id
    on conflict do nothing returning message_id`,
  values: [consumer, JSON.stringify(rows.map(keepable))],
});

/** The largest `smallint`: a header may hold any number. */
const MAX_SMALLINT = 32_767;

/** The row without what PostgreSQL cannot store. */
function keepable({ id, attempts, failures }: InboxRow): InboxRow {
  if (attempts === undefined) return { id };
  const row = { id, attempts: Math.min(attempts, MAX_SMALLINT) };
  return failures === undefined || UNKEEPABLE.test(JSON.stringify(failures)) ? row : { ...row, failures };
}

const PRUNE_BATCH = 5_000;

/** Forgets what is older than `age` ms, in small transactions. Messages of that age are refused before they get here. */
export async function pruneInbox(send: Send, age: number): Promise<number> {
  const statement: Statement = {
    text: `
      with pruned as (
        delete from warren.inbox where (consumer, message_id) in (
          select consumer, message_id from warren.inbox
          where received_at < now() - make_interval(secs => $1::float8) limit ${PRUNE_BATCH})
        returning 1)
      select count(*)::int as count from pruned`,
    values: [age / 1_000],
  };
  for (let pruned = 0; ; ) {
    const { count } = (await send(statement)).rows[0] as { count: number };
    pruned += count;
    if (count < PRUNE_BATCH) return pruned;
  }
}
