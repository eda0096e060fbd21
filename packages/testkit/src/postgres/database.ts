import pg from 'pg';

/** Runs SQL on a server or database: one connection a call. */
export async function query<Row extends object = Record<string, unknown>>(
  url: string,
  sql: string,
  values: unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    const { rows } = await client.query(sql, values);
    return rows as Row[];
  } finally {
    await client.end().catch(() => {});
  }
}

export interface CreateDatabase {
  /** URL of a user who may make databases (and roles). */
  server: string;
  name: string;
  /** Made to own the database, where it is given. */
  role?: { name: string; password: string };
}

/**
 * Makes a database, owned by a role of its own when one is named.
 *
 * @returns the URL of the database, as that role or else as the server's user
 * @throws when there is one of that name
 */
export async function createDatabase({ server, name, role }: CreateDatabase): Promise<string> {
  if (role) {
    await query(server, `create role ${quote(role.name)} login password ${pg.escapeLiteral(role.password)}`);
    // A server's user who is not a superuser must be a member of the role it gives a database to.
    await query(server, `grant ${quote(role.name)} to current_user`).catch(() => {});
  }
  await query(server, `create database ${quote(name)}${role ? ` owner ${quote(role.name)}` : ''}`);
  const url = databaseUrl(server, name);
  if (!role) return url;
  await query(server, `revoke connect on database ${quote(name)} from public`);
  const own = new URL(url);
  own.username = encodeURIComponent(role.name);
  own.password = encodeURIComponent(role.password);
  return own.href;
}

/** Drops a database, also if clients are connected to it, and the role that owned it. */
export async function dropDatabase(server: string, name: string, role?: string): Promise<void> {
  await query(server, `drop database if exists ${quote(name)} with (force)`);
  if (role) await query(server, `drop role if exists ${quote(role)}`);
}

export async function databaseExists(server: string, name: string): Promise<boolean> {
  return (await query(server, 'select 1 from pg_database where datname = $1', [name])).length > 0;
}

/** The same server and user, another database. */
export function databaseUrl(server: string, name: string): string {
  const url = new URL(server);
  url.pathname = `/${encodeURIComponent(name)}`;
  return url.href;
}

const quote = pg.escapeIdentifier;
