// What the outbox holds, counted for the metrics of a service.
import { type QueryExecutorProvider, sql } from 'kysely';

/** Above this many, `pending` is the planner's estimate: counting millions of rows every few seconds would slow down the relay. */
const COUNT_LIMIT = 50_000;

/** Counts pending and parked events; `oldestAge` is in seconds. */
export async function outboxStats(
  database: QueryExecutorProvider,
): Promise<{ pending: number; oldestAge: number; parked: number }> {
  const { rows } = await sql<{ pending: string; estimate: string; oldest: string | null; parked: string }>`
    select (select count(*) from (select 1 from warren.outbox where parked_at is null limit ${COUNT_LIMIT}) counted) as pending,
           (select reltuples from pg_class where oid = 'warren.outbox'::regclass) as estimate,
           (select extract(epoch from clock_timestamp() - created_at) from warren.outbox
             where parked_at is null order by id limit 1) as oldest,
           (select count(*) from warren.outbox where parked_at is not null) as parked`.execute(database);
  const row = rows[0];
  const counted = Number(row?.pending ?? 0);
  return {
    pending: counted < COUNT_LIMIT ? counted : Math.max(counted, Number(row?.estimate ?? 0)),
    oldestAge: Math.max(0, Number(row?.oldest ?? 0)),
    parked: Number(row?.parked ?? 0),
  };
}

/** Counts held events by routing key. */
export async function outboxHeld(database: QueryExecutorProvider): Promise<{ key: string; held: number }[]> {
  const { rows } = await sql<{ key: string; held: number }>`
    select routing_key as key, count(*)::int as held from warren.outbox
    where held_at is not null group by routing_key`.execute(database);
  return rows;
}
