import type { EventDefinition } from '@warren/events';
import type { Kysely, Transaction } from 'kysely';
import type { Logger } from 'pino';
import type { Caller } from './auth/caller.ts';
import type { Result, Statement } from './database/pipeline.ts';
import type { CounterDefinition } from './telemetry/counters.ts';

export type { Logger } from 'pino';

/** What a part of Warren logs through when it runs without a service: pino, Fastify's `app.log`, and `console` are ones. */
export interface Log {
  debug: LogLine;
  info: LogLine;
  warn: LogLine;
  error: LogLine;
}

interface LogLine {
  (fields: object, message: string): void;
  (message: string): void;
}

/** The origin of a piece of work: its log lines and the events that it emits name it. */
export interface Origin {
  correlationId: string;
  /** Id of the event that caused this, when there is one: the events that it emits name it. */
  causationId?: string;
  /** W3C trace context of the caller, when there is one. */
  traceparent?: string;
  log: Logger;
  /** On whose behalf, with AUTH=jwt; a request to another service names it. */
  caller?: Caller | undefined;
  /** Aborting it cancels the running statement and rolls the transaction back. */
  signal?: AbortSignal;
}

/** Something to do outside any transaction, once the one that scheduled it has committed: a row of `warren.tasks`. */
export interface ScheduledTask {
  /** Stable key of the effect; a second `schedule` of the same kind and key changes nothing. */
  key: string;
  /** Not before this time; now when absent. */
  at?: Date;
  data?: object;
}

/** The argument of a handler of a request, an event or a task: one transaction, and the operations in it. */
// biome-ignore lint/suspicious/noExplicitAny: a handler that does not touch the database need not name its schema
export interface WorkContext<Schema = any, Config = any> {
  transaction: Transaction<Schema>;
  /**
   * Appends an event to the outbox: it is written at the end of this transaction, and published after the commit, in commit
   * order per aggregate. Lock or write the aggregate's row before.
   * @returns the event's id
   * @throws {ContractError} when the data does not fit the event's contract
   */
  emit<Data extends object>(
    event: EventDefinition<Data>,
    data: Data,
    options: { aggregate: string },
  ): Promise<string>;
  /** Schedules a task for the worker of that kind: it is written at the end of this transaction. */
  schedule(kind: string, task: ScheduledTask): Promise<void>;
  /**
   * Deletes a task in this transaction, unless a worker has begun it.
   * @returns whether it was deleted; if not, it has been begun at least once, is done, or never was scheduled
   */
  unschedule(kind: string, key: string): Promise<boolean>;
  /** As `unschedule`, but at the end of this transaction and without a result: it costs no round trip of its own. */
  discard(kind: string, key: string): void;
  /** Counts something that this transaction made true, once it has committed. */
  count<Labels extends Record<string, string>>(counter: CounterDefinition<Labels>, labels: Labels): void;
  /**
   * Since when events have been published and consumed without interruption; absent while the broker or the database is
   * unavailable, or the broker blocks publishers.
   */
  brokerSince: Date | undefined;
  config: Config;
  log: Logger;
  now(): Date;
  correlationId: string;
  signal?: AbortSignal;
}

/** Transactions for HTTP routes, consumers and workers. */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export interface UnitsOfWork<Schema = any, Config = any> {
  /** For reads that need no transaction. */
  database: Kysely<Schema>;
  /** Runs `work` in one transaction; commits when it resolves, rolls back and rejects with its error when it does not. */
  run<T>(origin: Origin, work: (work: WorkContext<Schema, Config>) => Promise<T>): Promise<T>;
  /**
   * Runs pieces of work in one transaction: those of one key one after the other, in their order; those of different keys at
   * once, begun in the order of the keys. They commit together, or none does.
   * @throws {BatchError} when the transaction failed after it had begun
   */
  batch<Piece extends PieceOfWork<Schema, Config>>(
    pieces: readonly Piece[],
    options?: BatchOptions<Piece>,
  ): Promise<void>;
}

// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export interface PieceOfWork<Schema = any, Config = any> {
  /** Names what it locks: within one transaction a row lock does not separate pieces of work. */
  key: string;
  /** Its signal is not used: the batch has one. */
  origin: Origin;
  run(work: WorkContext<Schema, Config>, member: { hasWritten(): boolean }): Promise<void>;
}

export interface BatchOptions<Piece> {
  signal?: AbortSignal;
  /**
   * Runs in one write with the BEGIN.
   * @returns the pieces that are to be run
   */
  first?(run: (statement: Statement) => Promise<Result>): Promise<readonly Piece[]>;
  /**
   * `first` will most likely choose all pieces: they are run at once, a round trip earlier. If it chooses fewer, everything is
   * rolled back, and the chosen ones are run in a second transaction.
   */
  optimistic?: boolean;
}

/** Why a batch was rolled back. */
// biome-ignore lint/suspicious/noExplicitAny: of pieces of any kind
export class BatchError<Piece = any> extends Error {
  override readonly name = 'BatchError';
  /** Pieces that failed by themselves, or had not ended at the time-out. Empty: unknown. */
  readonly culprits: ReadonlySet<Piece>;

  constructor(cause: unknown, culprits: ReadonlySet<Piece>) {
    super('a batch was rolled back', { cause });
    this.culprits = culprits;
  }
}
