// What a service defines for one kind of task: an external side effect that outlives its transaction, e.g. a charge or an e-mail.
import type { Kysely } from 'kysely';
import type { Logger, WorkContext } from '../context.ts';

export interface Task<Data extends object = object> {
  /** Stable: the same for every attempt, so that the provider can recognize a repeat. */
  key: string;
  data: Data;
  /** This attempt's number, from 1. */
  attempts: number;
}

/** The second argument of `perform`. */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export interface TaskContext<Schema = any, Config = any> {
  /** Aborts when its time is over. */
  signal: AbortSignal;
  config: Config;
  log: Logger;
  /** For reads, and for a simulated provider that keeps its records here: each statement is its own transaction. */
  database: Kysely<Schema>;
}

// biome-ignore lint/suspicious/noExplicitAny: workers of different kinds stand in one list
export interface Worker<Data extends object = any, Result = any, Schema = any, Config = any> {
  kind: string;
  /**
   * The external side effect, in no transaction. It runs again under the same key if this process dies before `complete` has
   * committed. After an error it is retried, after a delay that grows.
   */
  perform?(task: Task<Data>, context: TaskContext<Schema, Config>): Promise<Result>;
  /** Writes the result, in one transaction that also deletes the task. */
  complete(task: Task<Data>, result: Result, work: WorkContext<Schema, Config>): Promise<void>;
  /** Closes what `perform` has opened, e.g. its connections: called when the service stops, after the last task. */
  close?(config: Config): void;
  /**
   * ms that `perform` may take
   * @defaultValue 30000
   */
  timeout?: number;
  /**
   * Tasks at once in this process
   * @defaultValue 2
   */
  concurrency?: number;
}
