// What the outbox holds, counted for the metrics of a service.
import { type QueryExecutorProvider, sql } from 'kysely';

/** Above this many, a count is the planner's estimate: counting millions of rows every few seconds would slow down the relay. */
const COUNT_LIMIT = 50_000;

/** Counts pending and parked events; `oldestAge` is in seconds. Each part reads the index of its name, and no other row. */
export async function outboxStats(
  database: QueryExecutorProvider,
): Promise<{ pending: number; oldestAge: number; parked: number }> {
  const { rows } = await sql<
    Record<'pending' | 'parked' | 'pendingEstimate' | 'parkedEstimate' | 'oldest', string | null>
  >`
    select (select count(*) from (select from warren.outbox where parked_at is null limit ${COUNT_LIMIT}) counted) as pending,
           (select count(*) from (select from warren.outbox where parked_at is not null limit ${COUNT_LIMIT}) counted) as parked,
           (select reltuples from pg_class where oid = 'warren.outbox_pending'::regclass) as "pendingEstimate",
           (select reltuples from pg_class where oid = 'warren.outbox_parked'::regclass) as "parkedEstimate",
           (select extract(epoch from clock_timestamp() - created_at) from warren.outbox
             where parked_at is null order by id limit 1) as oldest`.execute(database);
  const { pending, parked, pendingEstimate, parkedEstimate, oldest } = rows[0] ?? {};
  return {
    pending: countOr(pending, pendingEstimate),
    oldestAge: Math.max(0, Number(oldest ?? 0)),
    parked: countOr(parked, parkedEstimate),
  };
}

/** The count, or the estimate where it ended at the limit. */
function countOr(counted: string | null | undefined, estimate: string | null | undefined): number {
  const count = Number(counted ?? 0);
  return count < COUNT_LIMIT ? count : Math.max(count, Number(estimate ?? 0));
}

/** Counts held events by routing key. */
export async function outboxHeld(database: QueryExecutorProvider): Promise<{ key: string; held: number }[]> {
  const { rows } = await sql<{ key: string; held: number }>`
    select routing_key as key, count(*)::int as held from warren.outbox
    where held_at is not null group by routing_key`.execute(database);
  return rows;
}
