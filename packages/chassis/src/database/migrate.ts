// Forward-only migrations: SQL files in numeric order, each in a transaction, each once.
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from '../context.ts';
import { WarrenError } from '../errors.ts';
import { connectClient } from './connect.ts';

export interface MigrationSet {
  /** `chassis` or the service's name. */
  name: string;
  /** Directory of files `NNN_what.sql`. */
  directory: URL;
}

const LOCK = "hashtextextended('warren.migrations', 0)";
const FILE = /^(\d{3,})_[a-z0-9_]+\.sql$/;

/**
 * Applies what is missing. Replicas may call it at the same time: one applies, the others wait for it by polling, since a
 * session that waits for a lock holds a snapshot, and `create index concurrently` waits for those. Migrations that this
 * version does not know are left alone: an older version runs beside a newer one.
 * @throws {WarrenError} `migration_failed`, naming the file that failed, with its cause; nothing of that file is kept
 */
export async function migrate(
  url: string,
  sets: readonly MigrationSet[],
  log: Logger,
  signal?: AbortSignal,
): Promise<void> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: 5_000,
    application_name: 'migrations',
  });
  client.on('error', () => {});
  await connectClient(client);
  try {
    // When this host vanishes, the lock must not outlive it for hours.
    await client.query(
      'set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3',
    );
    for (let waited = 0; !(await tryLock(client)); waited += 1) {
      if (waited === 1) log.info('another replica is migrating the database; waiting');
      await sleep(100, undefined, { signal });
    }
    await client.query(`create schema if not exists warren`);
    await client.query(
      `create table if not exists warren.migrations (
         set text not null, name text not null, applied_at timestamptz not null default now(), primary key (set, name))`,
    );
    for (const set of sets) await apply(client, set, log);
  } finally {
    await client.end();
  }
}

/** 999 before 1000; files of one number by name. */
const byNumber = (a: string, b: string) =>
  Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1);

async function tryLock(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query(`select pg_try_advisory_lock(${LOCK}) as locked`);
  return rows[0].locked;
}

async function apply(client: pg.Client, set: MigrationSet, log: Logger): Promise<void> {
  const files = (await readdir(set.directory)).filter((file) => file.endsWith('.sql')).sort(byNumber);
  const wrong = files.find((file) => !FILE.test(file));
  if (wrong !== undefined)
    throw new WarrenError('migration_failed', `migration ${wrong}: name it like 001_users.sql`);
  const { rows } = await client.query('select name from warren.migrations where set = $1', [set.name]);
  const applied = new Set(rows.map(({ name }) => name as string));

  for (const name of files.filter((file) => !applied.has(file))) {
    const statements = await readFile(new URL(name, set.directory), 'utf8');
    try {
      await client.query('begin');
      await client.query(statements);
      await client.query('insert into warren.migrations (set, name) values ($1, $2)', [set.name, name]);
      await client.query('commit');
    } catch (cause) {
      await client.query('rollback').catch(() => {});
      throw new WarrenError(
        'migration_failed',
        `migration ${set.name}/${name}: ${(cause as Error).message}`,
        { cause },
      );
    }
    log.info({ migration: `${set.name}/${name}` }, 'migration applied');
  }
  const unknown = [...applied].filter((name) => !files.includes(name));
  if (unknown.length > 0) log.info({ unknown }, 'the database schema is newer than this version; continuing');
}
