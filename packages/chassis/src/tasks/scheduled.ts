// The tasks that a transaction schedules: they are written in it, and done by a worker after its commit.
import type { ScheduledTask } from '../context.ts';
import { UNKEEPABLE } from '../database/json.ts';
import type { Result, Statement } from '../database/pipeline.ts';

/** The origin of a task: the ids of the request or event that scheduled it. */
export interface TaskOrigin {
  correlationId: string;
  causationId?: string;
  traceparent?: string;
}

interface Scheduled {
  kind: string;
  key: string;
  at: Date | undefined;
  /** As JSON. */
  data: string;
  origin: TaskOrigin;
}

/**
 * The tasks that one transaction schedules and discards, kept until its end. If two have the same kind and key, the first counts,
 * as among the rows.
 */
export class ScheduledTasks {
  readonly #scheduled = new Map<string, Scheduled>();
  readonly #discarded = new Map<string, { kind: string; key: string }>();

  /** @throws {TypeError} for what PostgreSQL cannot keep */
  schedule(kind: string, { key, at, data = {} }: ScheduledTask, origin: TaskOrigin): void {
    const json = JSON.stringify(data);
    if (key.includes('\0') || UNKEEPABLE.test(json))
      throw new TypeError(`task ${kind}: its key or data has a character that PostgreSQL cannot keep`);
    if (at !== undefined && Number.isNaN(at.getTime()))
      throw new TypeError(`task ${kind}: 'at' is not a date`);
    const id = idOf(kind, key);
    if (!this.#scheduled.has(id)) this.#scheduled.set(id, { kind, key, at, data: json, origin });
  }

  /** Deletes the task, unless a worker has begun it. */
  discard(kind: string, key: string): void {
    const id = idOf(kind, key);
    this.#scheduled.delete(id);
    this.#discarded.set(id, { kind, key });
  }

  /**
   * Deletes the task at once, unless a worker has begun it.
   * @returns whether it was deleted
   */
  async unschedule(
    kind: string,
    key: string,
    run: (statement: Statement) => Promise<Result>,
  ): Promise<boolean> {
    const id = idOf(kind, key);
    const wasScheduled = this.#scheduled.delete(id);
    const { rowCount } = await run(deleteTasks(kind, [key]));
    return wasScheduled || (rowCount === 1 && !this.#discarded.has(id));
  }

  /** In the order of kind and key, so that transactions that meet wait in one order for each other. */
  statements(): Statement[] {
    const discarded = Map.groupBy([...this.#discarded.values()].sort(byId), ({ kind }) => kind);
    const scheduled = [...this.#scheduled.values()].sort(byId);
    return [
      ...[...discarded].map(([kind, tasks]) =>
        deleteTasks(
          kind,
          tasks.map(({ key }) => key),
        ),
      ),
      ...(scheduled.length > 0 ? [insertTasks(scheduled)] : []),
    ];
  }
}

const idOf = (kind: string, key: string) => `${kind}\n${key}`;

const byId = (a: { kind: string; key: string }, b: { kind: string; key: string }) =>
  idOf(a.kind, a.key) < idOf(b.kind, b.key) ? -1 : 1;

const insertTasks = (tasks: readonly Scheduled[]): Statement => ({
  text: `
    insert into warren.tasks (kind, key, data, due_at, correlation_id, causation_id, traceparent)
    select kind, key, data, coalesce(due_at, now()), correlation_id, causation_id, traceparent
    from unnest($1::text[], $2::text[], $3::jsonb[], $4::timestamptz[], $5::text[], $6::text[], $7::text[])
      as task (kind, key, data, due_at, correlation_id, causation_id, traceparent)
    on conflict (kind, key) do nothing`,
  values: [
    tasks.map(({ kind }) => kind),
    tasks.map(({ key }) => key),
    tasks.map(({ data }) => data),
    tasks.map(({ at }) => at ?? null),
    tasks.map(({ origin }) => origin.correlationId),
    tasks.map(({ origin }) => origin.causationId ?? null),
    tasks.map(({ origin }) => origin.traceparent ?? null),
  ],
});

const deleteTasks = (kind: string, keys: readonly string[]): Statement => ({
  text: 'delete from warren.tasks where kind = $1 and key = any($2::text[]) and attempts = 0',
  values: [kind, keys],
});
