// Forward-only migrations: SQL files in numeric order, each in a transaction, each once.
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Log } from '../context.ts';
import { WarrenError } from '../errors.ts';
import { connectClient } from './connect.ts';

export interface MigrationSet {
  /** `chassis` or the service's name. */
  name: string;
  /** Directory of files `NNN_what.sql`. */
  directory: URL;
}

const BOOKKEEPING = `create schema if not exists warren;
create table if not exists warren.migrations (
  set text not null, name text not null, applied_at timestamptz not null default now(), primary key (set, name));`;
const LOCK = "hashtextextended('warren.migrations', 0)";
/**
 * ms that a migration waits for a lock, with new transactions behind it. At first below `deadlock_timeout` (1 s): it is rolled back
 * and repeated before PostgreSQL ends a transaction that waits for it. Doubled each time, so that it gets to its end.
 */
const LOCK_TIMEOUT_MS = { min: 500, max: 16_000 };
/** ms in which the transactions behind it go on. */
const RETRY_MS = 200;
/** SQLSTATEs: lock_not_available, deadlock_detected. */
const LOCKED = ['55P03', '40P01'];
const FILE = /^(\d{3,})_[a-z0-9_]+\.sql$/;

/**
 * Applies what is missing. Replicas may call it at the same time: one applies, the others wait for it by polling, since a
 * session that waits for a lock holds a snapshot, and `create index concurrently` waits for those. Migrations that this
 * version does not know are left alone: an older version runs beside a newer one. A migration that cannot have a lock is
 * repeated until it can.
 * @throws {WarrenError} `migration_failed`, naming the file that failed, with its cause; nothing of that file is kept
 */
export async function migrate(
  url: string,
  sets: readonly MigrationSet[],
  log: Log,
  signal?: AbortSignal,
): Promise<void> {
  const client = newClient(url);
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
    await client.query(BOOKKEEPING);
    for (const set of sets) await apply(client, set, log, signal);
  } finally {
    await client.end();
  }
}

function newClient(url: string): pg.Client {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: 5_000,
    application_name: 'migrations',
  });
  client.on('error', () => {});
  return client;
}

/** 999 before 1000; files of one number by name. */
const byNumber = (a: string, b: string) =>
  Number.parseInt(a, 10) - Number.parseInt(b, 10) || (a < b ? -1 : 1);

async function tryLock(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query(`select pg_try_advisory_lock(${LOCK}) as locked`);
  return rows[0].locked;
}

async function filesOf({ directory }: MigrationSet): Promise<string[]> {
  const files = (await readdir(directory)).filter((file) => file.endsWith('.sql')).sort(byNumber);
  const wrong = files.find((file) => !FILE.test(file));
  if (wrong !== undefined)
    throw new WarrenError('migration_failed', `migration ${wrong}: name it like 001_users.sql`);
  return files;
}

/**
 * The names of the migrations that the database lacks, in order.
 * @throws {ConnectError} when the database is unavailable
 */
export async function missingMigrations(url: string, set: MigrationSet): Promise<string[]> {
  const client = newClient(url);
  await connectClient(client);
  try {
    const { rows: found } = await client.query(
      `select to_regclass('warren.migrations') is not null as found`,
    );
    const applied = found[0].found ? await appliedOf(client, set) : new Set();
    return (await filesOf(set)).filter((file) => !applied.has(file));
  } finally {
    await client.end();
  }
}

/** These migrations as SQL for one transaction, with the rows by which `migrate` knows that they were applied. */
export async function migrationsAsSql(set: MigrationSet, names?: readonly string[]): Promise<string> {
  const parts = [BOOKKEEPING];
  for (const name of names ?? (await filesOf(set))) {
    const statements = await readFile(new URL(name, set.directory), 'utf8');
    const values = [set.name, name].map((text) => pg.escapeLiteral(text)).join(', ');
    parts.push(
      `-- ${set.name}/${name}\n${statements.trim()}\ninsert into warren.migrations (set, name) values (${values});`,
    );
  }
  return `${parts.join('\n\n')}\n`;
}

async function appliedOf(client: pg.Client, { name }: MigrationSet): Promise<Set<string>> {
  const { rows } = await client.query('select name from warren.migrations where set = $1', [name]);
  return new Set(rows.map(({ name }) => name as string));
}

async function apply(
  client: pg.Client,
  set: MigrationSet,
  log: Log,
  signal: AbortSignal | undefined,
): Promise<void> {
  const files = await filesOf(set);
  const applied = await appliedOf(client, set);

  for (const name of files.filter((file) => !applied.has(file))) {
    const statements = await readFile(new URL(name, set.directory), 'utf8');
    const migration = `${set.name}/${name}`;
    let timeout = LOCK_TIMEOUT_MS.min;
    while (!(await applyFile(client, set, name, statements, timeout))) {
      log.info({ migration }, 'a migration waits for running transactions; retrying');
      await sleep(RETRY_MS, undefined, { signal });
      timeout = Math.min(2 * timeout, LOCK_TIMEOUT_MS.max);
    }
    log.info({ migration }, 'migration applied');
  }
  const unknown = [...applied].filter((name) => !files.includes(name));
  if (unknown.length > 0) log.info({ unknown }, 'the database schema is newer than this version; continuing');
}

/** @returns false when it could not have a lock in time */
async function applyFile(
  client: pg.Client,
  set: MigrationSet,
  name: string,
  statements: string,
  lockTimeout: number,
): Promise<boolean> {
  try {
    await client.query(`begin; set local lock_timeout = ${lockTimeout}`);
    await client.query(statements);
    await client.query('insert into warren.migrations (set, name) values ($1, $2)', [set.name, name]);
    await client.query('commit');
    return true;
  } catch (cause) {
    await client.query('rollback').catch(() => {});
    if (LOCKED.includes((cause as { code?: string }).code ?? '')) return false;
    throw new WarrenError('migration_failed', `migration ${set.name}/${name}: ${(cause as Error).message}`, {
      cause,
    });
  }
}
