// A lease on a task is a due date in the future. Its holder renews it; if the holder dies, the task becomes due, and another process
// claims it.
import { randomUUID } from 'node:crypto';
import { type QueryExecutorProvider, sql } from 'kysely';
import type { Statement } from '../database/pipeline.ts';
import { asError } from '../errors.ts';

export interface ClaimedTask {
  id: string;
  key: string;
  data: object;
  attempts: number;
  correlation_id: string;
  causation_id: string | null;
  traceparent: string | null;
}

/** Another process takes over the tasks of one that died after this time. */
const LEASE_MS = 20_000;
/** A live process renews its leases in time. */
export const LEASE_RENEWAL_MS = 5_000;

const leaseEnd = sql`clock_timestamp() + make_interval(secs => ${LEASE_MS / 1_000})`;

/** The leases of one process on the tasks of one kind. */
export class Leases {
  readonly #holder = randomUUID();
  readonly #kind: string;
  readonly #database: QueryExecutorProvider;

  constructor(kind: string, database: QueryExecutorProvider) {
    this.#kind = kind;
    this.#database = database;
  }

  /** Takes the lease on tasks that are due. */
  async claim(limit: number): Promise<ClaimedTask[]> {
    // statement_timestamp() is stable, so the index is used; with the volatile clock_timestamp() every row would be read.
    const { rows } = await sql<ClaimedTask>`
      update warren.tasks set lease = ${this.#holder}, attempts = attempts + 1, due_at = ${leaseEnd}
      where id = any(array(
        select id from warren.tasks where kind = ${this.#kind} and due_at <= statement_timestamp()
        order by due_at limit ${limit} for update skip locked))
      returning id, key, data, attempts, correlation_id, causation_id, traceparent`.execute(this.#database);
    return rows;
  }

  async renew(ids: readonly string[]): Promise<void> {
    await sql`
      update warren.tasks set due_at = ${leaseEnd}
      where id = any(${ids}::bigint[]) and lease = ${this.#holder}`.execute(this.#database);
  }

  /** Gives up the lease on tasks that were not begun: they are due again, and the attempt does not count. */
  async release(ids: readonly string[]): Promise<void> {
    await sql`
      update warren.tasks set due_at = statement_timestamp(), lease = null, attempts = attempts - 1
      where id = any(${ids}::bigint[]) and lease = ${this.#holder}`.execute(this.#database);
  }

  /**
   * Gives up the lease on a task that failed: it is due again after `delay` ms.
   * @returns false if another process has the lease now
   */
  async postpone({ id, attempts }: ClaimedTask, delay: number, error: unknown): Promise<boolean> {
    const { numAffectedRows } = await sql`
      update warren.tasks set due_at = clock_timestamp() + make_interval(secs => ${delay / 1_000}), lease = null,
             last_error = ${asError(error).message.replaceAll('\0', '').slice(0, 1_000)}
      where id = ${id} and lease = ${this.#holder} and attempts = ${attempts}`.execute(this.#database);
    return numAffectedRows === 1n;
  }

  /** Deletes those of these tasks that this process still has the lease on, and returns their ids. */
  endTasks(ids: readonly string[]): Statement {
    return {
      text: 'delete from warren.tasks where id = any($1::bigint[]) and lease = $2 returning id',
      values: [ids, this.#holder],
    };
  }
}
