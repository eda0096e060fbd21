// The idempotent inbox: a message's id is written in the transaction of its effect, so it has that effect once.
import { createHash } from 'node:crypto';
import { type QueryExecutorProvider, sql } from 'kysely';
import { UNKEEPABLE } from '../database/json.ts';
import type { Statement } from '../database/pipeline.ts';

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
 * is that of the ids, so that two replicas with the same messages wait for each other in one order.
 */
export const insertMessages = (consumer: string, rows: readonly InboxRow[]): Statement => ({
  text: `
    insert into warren.inbox (consumer, message_id, attempts, failures)
    select $1, id, attempts, failures
    from unnest($2::uuid[], $3::smallint[], $4::jsonb[]) as message (id, attempts, failures) order by id
    on conflict do nothing returning message_id`,
  values: [
    consumer,
    rows.map(({ id }) => id),
    rows.map(({ attempts }) => (attempts === undefined ? null : Math.min(attempts, MAX_SMALLINT))),
    rows.map(({ failures }) => (failures === undefined ? null : keepable(failures))),
  ],
});

/** The largest `smallint`: a header may hold any number. */
const MAX_SMALLINT = 32_767;

/** @returns null for JSON that PostgreSQL cannot store */
function keepable(value: object): string | null {
  const json = JSON.stringify(value);
  return UNKEEPABLE.test(json) ? null : json;
}

const PRUNE_BATCH = 5_000;

/** Forgets what is older than `age` ms, in small transactions. Messages of that age are refused before they get here. */
export async function pruneInbox(database: QueryExecutorProvider, age: number): Promise<number> {
  let pruned = 0;
  for (;;) {
    const { numAffectedRows } = await sql`
      delete from warren.inbox where (consumer, message_id) in (
        select consumer, message_id from warren.inbox
        where received_at < now() - make_interval(secs => ${age / 1000}) limit ${PRUNE_BATCH})`.execute(
      database,
    );
    pruned += Number(numAffectedRows ?? 0n);
    if (Number(numAffectedRows ?? 0n) < PRUNE_BATCH) return pruned;
  }
}
