// A pooler in transaction mode gives a session's lock to whoever comes next: the relay must not run behind one.
import pg from 'pg';
import { within } from '../concurrency.ts';
import { WarrenError } from '../errors.ts';
import { hangUp } from './reader.ts';

/** DATABASE_URL cannot work, however long one waits. */
export class PoolerError extends WarrenError {
  override readonly name = 'PoolerError';
  constructor() {
    super(
      'database_unsuitable',
      'DATABASE_URL leads to a connection pooler in transaction mode, but the outbox relay needs a session of its own: ' +
        'point DATABASE_URL at PostgreSQL itself, or at a pool in session mode',
    );
  }
}

/** Transactions that are opened beside a session to see whether one of them gets its backend. */
const PROBES = 5;
/** ms after which a session that does not answer is thought to wait for a backend. */
const PROBE_TIMEOUT_MS = 2_000;

/**
 * Sees whether a connected client has a session of its own. It has none when another one's transaction can run on its backend.
 * @throws {PoolerError}
 */
export async function refusePooler(client: pg.Client, url: string): Promise<void> {
  const mine = await backend(client);
  // PostgreSQL tells a client its backend at the start; a pooler, which does not know it yet, makes a number up.
  if ((client as unknown as { processID: number | null }).processID === mine) return;
  const others: pg.Client[] = [];
  try {
    for (let round = 0; round < PROBES; round += 1) {
      const other = new pg.Client({
        connectionString: url,
        connectionTimeoutMillis: 5_000,
        query_timeout: 5_000,
      });
      other.on('error', () => {});
      others.push(other);
      await other.connect();
      await other.query('begin');
      const theirs = await backend(other);
      const still = backend(client);
      still.catch(() => {});
      const answer = await within(PROBE_TIMEOUT_MS, still);
      if (theirs === mine || answer !== mine) throw new PoolerError();
    }
  } finally {
    for (const other of others) hangUp(other);
  }
}

async function backend(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return rows[0]?.pid as number;
}
