// A lease on a task is a due date in the future. Its holder renews it; if the holder dies, the task becomes due, and another process
// claims it.
import { randomUUID } from 'node:crypto';
import type { Statement } from '../database/pipeline.ts';
import type { Send } from '../database/statements.ts';
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

const LEASE_END = `clock_timestamp() + interval '${LEASE_MS} ms'`;
/** $1 is a JSON array of ids. */
const IDS = 'any(array(select json_array_elements_text($1::text::json)::bigint))';

/** The leases of one process on the tasks of one kind. */
export class Leases {
  readonly #holder = randomUUID();
  readonly #kind: string;
  readonly #send: Send;

  constructor(kind: string, send: Send) {
    this.#kind = kind;
    this.#send = send;
  }

  /** Takes the lease on tasks that are due. */
  async claim(limit: number): Promise<ClaimedTask[]> {
    // statement_timestamp() is stable, so the index is used; with the volatile clock_timestamp() every row would be read.
    const { rows } = await this.#send({
      text: `
        update warren.tasks set lease = $1::text::uuid, attempts = attempts + 1, due_at = ${LEASE_END}
        where id = any(array(
          select id from warren.tasks where kind = $2::text and due_at <= statement_timestamp()
          order by due_at limit $3::int for update skip locked))
        returning id::text as id, key, data::text as data, attempts, correlation_id, causation_id, traceparent`,
      values: [this.#holder, this.#kind, limit],
    });
    return rows.map((row) => ({ ...row, data: JSON.parse(row.data) })) as ClaimedTask[];
  }

  async renew(ids: readonly string[]): Promise<void> {
    await this.#send({
      text: `update warren.tasks set due_at = ${LEASE_END} where id = ${IDS} and lease = $2::text::uuid`,
      values: [JSON.stringify(ids), this.#holder],
    });
  }

  /** Gives up the lease on tasks that were not begun: they are due again, and the attempt does not count. */
  async release(ids: readonly string[]): Promise<void> {
    await this.#send({
      text: `
        update warren.tasks set due_at = statement_timestamp(), lease = null, attempts = attempts - 1
        where id = ${IDS} and lease = $2::text::uuid`,
      values: [JSON.stringify(ids), this.#holder],
    });
  }

  /**
   * Gives up the lease on a task that failed: it is due again after `delay` ms.
   * @returns false if another process has the lease now
   */
  async postpone({ id, attempts }: ClaimedTask, delay: number, error: unknown): Promise<boolean> {
    const { rows } = await this.#send({
      text: `
        update warren.tasks set due_at = clock_timestamp() + make_interval(secs => $1::float8), lease = null,
               last_error = $2::text
        where id = $3::text::bigint and lease = $4::text::uuid and attempts = $5::int returning id`,
      values: [
        delay / 1_000,
        asError(error).message.replaceAll('\0', '').slice(0, 1_000).toWellFormed(),
        id,
        this.#holder,
        attempts,
      ],
    });
    return rows.length === 1;
  }

  /** Deletes those of these tasks that this process still has the lease on, and returns their ids. */
  endTasks(ids: readonly string[]): Statement {
    return {
      text: `delete from warren.tasks where id = ${IDS} and lease = $2::text::uuid returning id::text as id`,
      values: [JSON.stringify(ids), this.#holder],
    };
  }
}
