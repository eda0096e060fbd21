// Warren's tables (the schema `warren`) in the database of any application.
import type { Log } from '../context.ts';
import {
  type MigrationSet,
  migrate as migrateSets,
  migrationsAsSql,
  missingMigrations,
} from '../database/migrate.ts';
import { warningsOnly } from './log.ts';

const CHASSIS: MigrationSet = { name: 'chassis', directory: new URL('../../migrations/', import.meta.url) };

/**
 * Creates or updates Warren's tables. Replicas may call it at the same time, at every start: one applies what is missing.
 * @param options.signal aborts the wait for another replica
 * @throws {WarrenError} `migration_failed`, naming the file; `database_unavailable`
 * @example await migrate(process.env.DATABASE_URL);
 */
export async function migrate(
  databaseUrl: string,
  { log = warningsOnly, signal }: { log?: Log; signal?: AbortSignal } = {},
): Promise<void> {
  await migrateSets(databaseUrl, [CHASSIS], log, signal);
}

/** The names of the migrations that the database lacks, in order. @throws {WarrenError} `database_unavailable` */
export const pendingMigrations = (databaseUrl: string): Promise<string[]> =>
  missingMigrations(databaseUrl, CHASSIS);

/**
 * The migrations as SQL, for another migration tool: run it in one transaction. A later `migrate` goes on from there.
 * @param names of migrations, e.g. those that `pendingMigrations` returned. @defaultValue all
 */
export const migrationSql = (names?: readonly string[]): Promise<string> => migrationsAsSql(CHASSIS, names);
