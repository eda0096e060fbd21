// Tasks for any application: an external side effect is scheduled in the transaction that decides on it, and done after its commit,
// under a stable key, again and again until it succeeds.

import { within } from '../concurrency.ts';
import type { Log, ScheduledTask, UnitsOfWork } from '../context.ts';
import { WarrenError } from '../errors.ts';
import { newId } from '../id.ts';
import { WorkerRunner } from '../tasks/runner.ts';
import { ScheduledTasks } from '../tasks/scheduled.ts';
import type { Task, Worker } from '../tasks/worker.ts';
import { sendOn } from './abortable-transaction.ts';
import type { Adapter } from './adapter.ts';
import { availabilityOf } from './availability.ts';
import { warningsOnly } from './log.ts';
import { type Followers, statementsOn, unitsOn, type Work } from './work.ts';

export type { Log, ScheduledTask } from '../context.ts';
export { type ErrorCode, WarrenError } from '../errors.ts';
export type { Task } from '../tasks/worker.ts';
export type { Adapter, Query } from './adapter.ts';
export type { Followers, Work } from './work.ts';

export interface Tasks<Handle> {
  /**
   * Schedules a task in the caller's transaction. A worker does it after the commit: at once if it is woken, else at its next poll,
   * within a second.
   * @param options.correlationId names everything that follows from one request. @defaultValue a new id
   * @throws {TypeError} for a key or data that PostgreSQL cannot keep
   * @example await tasks.schedule(tx, 'charge', { key: order.id, data: { amount: order.total } });
   */
  schedule(
    handle: Handle,
    kind: string,
    task: ScheduledTask,
    options?: { correlationId?: string },
  ): Promise<void>;
  /**
   * Deletes a task in the caller's transaction, unless a worker has begun it.
   * @returns whether it was deleted
   */
  unschedule(handle: Handle, kind: string, key: string): Promise<boolean>;
}

/** @param options.adapter see `@warren/chassis/adapters/*` */
export function createTasks<Handle>({ adapter }: { adapter: Adapter<Handle> }): Tasks<Handle> {
  const sendIn = (handle: Handle) => {
    const send = sendOn(adapter.query(handle));
    return async (statement: Parameters<typeof send>[0]) => {
      const { rows } = await send(statement);
      return { command: null, rowCount: rows.length, rows };
    };
  };
  return {
    async schedule(handle, kind, task, { correlationId = newId() } = {}) {
      const tasks = new ScheduledTasks();
      tasks.schedule(kind, task, { correlationId });
      for (const statement of tasks.statements()) await sendIn(handle)(statement);
    },
    unschedule: (handle, kind, key) => new ScheduledTasks().unschedule(kind, key, sendIn(handle)),
  };
}

/** The second argument of `perform`. */
export interface Performance {
  /** Aborts when its time is over. */
  readonly signal: AbortSignal;
  readonly log: Log;
}

export interface WorkerOptions<Data extends object, Result, Handle> extends Followers {
  /** The application's name: the source of the events that `complete` emits. */
  service: string;
  adapter: Adapter<Handle>;
  kind: string;
  /**
   * The external side effect, in no transaction. It runs again under the same key if this process dies before `complete` has
   * committed. After an error it is retried, after a delay that grows from 1 s to 5 min.
   */
  perform: (task: Task<Data>, performance: Performance) => Promise<Result>;
  /** Writes the result, in one transaction that also deletes the task. */
  complete?: (task: Task<Data>, result: Result, work: Work<Handle>) => Promise<void>;
  /** ms that `perform` may take. @defaultValue 30000 */
  timeout?: number;
  /** Tasks at once in this process. @defaultValue 2 */
  concurrency?: number;
  hooks?: {
    /** @defaultValue warnings and errors on standard error */
    log?: Log;
  };
}

export interface TaskWorker {
  readonly kind: string;
  /** Returns at once; does tasks until `stop`. */
  start(): void;
  /** A task of this kind was committed in this process: does it now instead of at the next poll, at most a second later. */
  wake(): void;
  /**
   * Claims nothing more, and finishes what was begun.
   * @param options.timeout ms (default: 10000); another process does what is not finished then, when its lease has expired
   * @returns whether all were finished
   */
  stop(options?: { timeout?: number }): Promise<boolean>;
}

/** ms */
const STOP_TIMEOUT_MS = 10_000;

/**
 * Does the tasks of one kind. A task that is being done has a lease, so of several processes one does it; if that process dies,
 * another one does the task again after 20 s, under the same key.
 * @example
 * const worker = createWorker({
 *   service: 'shop',
 *   adapter,
 *   kind: 'charge',
 *   perform: ({ key, data }, { signal }) => provider.charge({ idempotencyKey: key, amount: data.amount, signal }),
 *   complete: ({ key }, receipt, { transaction }) => saveReceipt(transaction, key, receipt),
 * });
 * worker.start();
 */
export function createWorker<Data extends object, Result, Handle>(
  options: WorkerOptions<Data, Result, Handle>,
): TaskWorker {
  const { adapter, kind, perform, complete = async () => {}, timeout, concurrency, hooks } = options;
  if (typeof perform !== 'function')
    throw new WarrenError('invalid_service', `createWorker: the worker of ${kind} needs a function perform`);
  const log = hooks?.log ?? warningsOnly;
  const availability = availabilityOf(adapter, log);
  const self = { kind, wake: () => runner.wake() };
  const units = unitsOn(adapter, { ...options, log, workers: [self, ...(options.workers ?? [])] });
  const worker: Worker = {
    kind,
    perform: (task: Task<Data>, context) => perform(task, context),
    // Work has the ORM's handle where a service's has Kysely's transaction.
    complete: (task: Task<Data>, result: Result, work) =>
      complete(task, result, work as unknown as Work<Handle>),
    ...(timeout !== undefined && { timeout }),
    ...(concurrency !== undefined && { concurrency }),
  };
  const runner = new WorkerRunner(worker, {
    units: units as UnitsOfWork,
    send: statementsOn(adapter),
    config: undefined,
    log,
    availability,
  });
  return {
    ...self,
    start: () => runner.start(),
    async stop({ timeout: limit = STOP_TIMEOUT_MS } = {}) {
      const stopped = runner.stop().then(() => true);
      const isFinished = (await within(limit, stopped)) === true;
      availability.close();
      return isFinished;
    },
  };
}
