// A pooler in transaction mode hands a session's advisory lock to the next client: the relay must not run behind one.
import pg from 'pg';
import { within } from '../concurrency.ts';
import { WarrenError } from '../errors.ts';
import { hangUp } from './reader.ts';

/** DATABASE_URL has to be changed; waiting does not help. */
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

/** Transactions to open beside a session, to check whether one of them gets its backend. */
const PROBES = 5;
/** ms after which a session that does not respond counts as waiting for a backend. */
const PROBE_TIMEOUT_MS = 2_000;

/**
 * Checks that a connected client has a session of its own. It does not if another client's transaction can run on its backend.
 * @throws {PoolerError}
 */
export async function refusePooler(client: pg.Client, url: string): Promise<void> {
  const mine = await backend(client);
  // PostgreSQL sends a client the process id of its backend at the start; a pooler, which has none yet, invents one.
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
