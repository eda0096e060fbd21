import { type QueryExecutorProvider, sql } from 'kysely';

/** How many tasks of these kinds should be done by now: they are due, or postponed because they failed. */
export async function countPendingTasks(
  database: QueryExecutorProvider,
  kinds: readonly string[],
): Promise<{ kind: string; pending: number }[]> {
  const { rows } = await sql<{ kind: string; pending: string }>`
    select kind,
           (select count(*) from warren.tasks
             where tasks.kind = wanted.kind and last_error is null and due_at <= statement_timestamp())
         + (select count(*) from warren.tasks where tasks.kind = wanted.kind and last_error is not null) as pending
    from unnest(${kinds}::text[]) as wanted (kind)`.execute(database);
  return rows.map(({ kind, pending }) => ({ kind, pending: Number(pending) }));
}
