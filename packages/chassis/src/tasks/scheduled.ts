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
    const { rows } = await run(deleteTasks(kind, [key]));
    return wasScheduled || (rows.length === 1 && !this.#discarded.has(id));
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
    select kind, key, data::jsonb, coalesce(due_at, now()), correlation_id, causation_id, traceparent
    from json_to_recordset($1::text::json) as task (kind text, key text, data text, due_at timestamptz,
      correlation_id text, causation_id text, traceparent text)
    on conflict (kind, key) do nothing`,
  values: [
    JSON.stringify(
      tasks.map(({ kind, key, data, at, origin }) => ({
        kind,
        key: key.toWellFormed(),
        data,
        due_at: at,
        correlation_id: origin.correlationId.toWellFormed(),
        causation_id: origin.causationId?.toWellFormed(),
        traceparent: origin.traceparent,
      })),
    ),
  ],
});

/** Returns a row for each. */
const deleteTasks = (kind: string, keys: readonly string[]): Statement => ({
  text: `
    delete from warren.tasks
    where kind = $1::text and key = any(array(select json_array_elements_text($2::text::json))) and attempts = 0
    returning key`,
  values: [kind, JSON.stringify(keys.map((key) => key.toWellFormed()))],
});
