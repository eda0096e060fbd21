import pg from 'pg';

/** One row that a transaction inserted, changed or deleted. */
export interface Change {
  operation: 'insert' | 'update' | 'delete';
  /** `users` in the schema public, else with its schema: `warren.outbox`. */
  table: string;
  /** As it is now; as it was, where it was deleted. */
  // biome-ignore lint/suspicious/noExplicitAny: the columns of any table
  row: Record<string, any>;
}

export interface Watch {
  close(): Promise<void>;
  /** Resolves when it has been closed, or lost with the server. */
  ended: Promise<void>;
}

/**
 * Reports the rows that each committed transaction inserted, changed and deleted, in order, by triggers; `close` removes them.
 * `at` is when the last of them was written, in ms since the epoch by this machine's clock. For looking on, not for load: NOTIFY
 * serialises commits.
 *
 * @param url of a user who may create triggers on all the tables there are
 *
 * @example
 * const watch = await watchTransactions(database.adminUrl, (changes) => console.log(changes));
 */
export async function watchTransactions(
  url: string,
  listener: (changes: Change[], at: number) => void,
): Promise<Watch> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();

  const ahead = await clockDifference(client);
  const pending = new Map<string, Change[]>();
  client.on('notification', ({ payload }) => {
    const { transaction, at, ...change } = JSON.parse(payload as string) as Notification;
    const changes = pending.get(transaction);
    if (changes) {
      changes.push(change);
      return;
    }
    const all = [change];
    pending.set(transaction, all);
    // All of a transaction is notified at its commit, in one go.
    setTimeout(() => {
      pending.delete(transaction);
      listener(all, at - ahead);
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
        'at', extract(epoch from clock_timestamp()) * 1000,
        'operation', lower(tg_op),
        'table', case tg_table_schema when 'public' then '' else tg_table_schema || '.' end || tg_table_name,
        'row', (select jsonb_object_agg(key, left(value, 200)) from jsonb_each_text(changed))
      )::text);
      return null;
    end $$`);
  const { rows } = await client.query(
    "select schemaname, tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema')",
  );
  for (const { schemaname, tablename } of rows) {
    const table = `${pg.escapeIdentifier(schemaname)}.${pg.escapeIdentifier(tablename)}`;
    await client.query(
      `create or replace trigger warren_watch after insert or update or delete on ${table} for each row execute function warren_watch.tell()`,
    );
  }
  await client.query('listen warren_watch');

  return {
    ended: new Promise((resolve) => client.once('end', resolve)),
    async close() {
      try {
        await client.query('drop schema warren_watch cascade');
      } finally {
        await client.end();
      }
    },
  };
}

type Notification = Change & { transaction: string; at: number };

/** By how many ms the server's clock is ahead of ours. */
async function clockDifference(client: pg.Client): Promise<number> {
  const sent = epoch();
  const { rows } = await client.query('select extract(epoch from clock_timestamp())::float8 * 1000 as now');
  return rows[0].now - (sent + epoch()) / 2;
}

const epoch = () => performance.timeOrigin + performance.now();
