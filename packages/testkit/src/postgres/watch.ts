import pg from 'pg';

/** One row that a transaction inserted or deleted. */
export interface Change {
  operation: 'insert' | 'delete';
  /** `users` in the schema public, else with its schema: `warren.outbox`. */
  table: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever columns the table has
  row: Record<string, any>;
}

export interface Watch {
  close(): Promise<void>;
}

/**
 * Tells of every committed transaction which rows it inserted and deleted, in order, by triggers that are removed on `close`.
 * For looking on, not for load: NOTIFY serialises commits.
 *
 * @param url of a user who may create triggers on these tables
 * @param tables as in `Change.table`
 *
 * @example
 * const watch = await watchTransactions(url, ['users', 'warren.outbox'], (changes) => console.log(changes));
 */
export async function watchTransactions(
  url: string,
  tables: string[],
  listener: (changes: Change[]) => void,
): Promise<Watch> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();

  const pending = new Map<string, Change[]>();
  client.on('notification', ({ payload }) => {
    const { transaction, ...change } = JSON.parse(payload as string) as Change & { transaction: string };
    const changes = pending.get(transaction);
    if (changes) {
      changes.push(change);
      return;
    }
    pending.set(transaction, [change]);
    // All of a transaction is notified at its commit, in one go.
    setTimeout(() => {
      const all = pending.get(transaction) as Change[];
      pending.delete(transaction);
      listener(all);
    }, 2);
  });

  await client.query('create schema if not exists warren_watch');
  await client.query('grant usage on schema warren_watch to public');
  // A notification holds 8,000 bytes: long values are cut.
  await client.query(`
    create or replace function warren_watch.tell() returns trigger language plpgsql as $$
    declare
      changed jsonb := to_jsonb(case tg_op when 'DELETE' then old else new end);
    begin
      perform pg_notify('warren_watch', jsonb_build_object(
        'transaction', pg_current_xact_id()::text,
        'operation', lower(tg_op),
        'table', case tg_table_schema when 'public' then '' else tg_table_schema || '.' end || tg_table_name,
        'row', (select jsonb_object_agg(key, left(value, 200)) from jsonb_each_text(changed))
      )::text);
      return null;
    end $$`);
  for (const table of tables) {
    await client.query(
      `create trigger warren_watch after insert or delete on ${quoted(table)} for each row execute function warren_watch.tell()`,
    );
  }
  await client.query('listen warren_watch');

  return {
    async close() {
      try {
        await client.query('drop schema warren_watch cascade');
      } finally {
        await client.end();
      }
    },
  };
}

const quoted = (table: string): string => table.split('.').map(pg.escapeIdentifier).join('.');
