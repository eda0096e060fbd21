// Units of work: one transaction, with the outbox and the tasks in it.
import type { Transaction } from 'kysely';
import {
  BatchError,
  type BatchOptions,
  type Origin,
  type PieceOfWork,
  type UnitsOfWork,
  type WorkContext,
} from './context.ts';
import type { Database } from './database/database.ts';
import { isStaleStatement } from './database/names.ts';
import { isDatabaseUnavailable, sqlStateOf } from './database/outage.ts';
import { FAILED_BEFORE, type Result, type Statement } from './database/pipeline.ts';
import type { Member } from './database/transaction.ts';
import { insertEvents, type OutboxRow, outboxRow } from './outbox/outbox.ts';
import { ScheduledTasks } from './tasks/scheduled.ts';
import type { Counters } from './telemetry/counters.ts';

export interface UnitsOfWorkOptions<Schema, Config> {
  service: string;
  database: Pick<Database<Schema>, 'kysely' | 'share'>;
  config: Config;
  now: () => Date;
  /** Routing keys that broker.ts declares. */
  publications: ReadonlySet<string>;
  /** See `WorkContext`. */
  brokerSince?: () => Date | undefined;
  /** See `WorkContext.count`. */
  counters?: Counters;
  onCommit: OnCommit;
}

/** Called after a commit that left events for the relay, or tasks of these kinds that are due. */
export type OnCommit = (left: { events: boolean; kinds: ReadonlySet<string> }) => void;

/** Attempts of a transaction that lost against another one: https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html */
const TRANSACTION_ATTEMPTS = 3;
const LOST_RACE_CODES = new Set(['40001', '40P01']);

/** It lost against another transaction: a retry may succeed. */
export const isLostRace = (error: unknown): boolean => LOST_RACE_CODES.has(sqlStateOf(error) ?? '');

export function createUnitsOfWork<Schema, Config>(
  options: UnitsOfWorkOptions<Schema, Config>,
): UnitsOfWork<Schema, Config> {
  type Context = WorkContext<Schema, Config>;

  const commit = (signal: AbortSignal | undefined, work: Transacted<Context>) =>
    runAndCommit(options, signal, work);

  async function run<T>(origin: Origin, work: (context: Context) => Promise<T>): Promise<T> {
    for (let number = 1; ; number += 1) {
      try {
        let result: T | undefined;
        await commit(origin.signal, async (open) => {
          result = await work(open(origin).work);
        });
        return result as T;
      } catch (error) {
        const isWorthARetry = isLostRace(error) || isStaleStatement(error);
        if (number === TRANSACTION_ATTEMPTS || !isWorthARetry || origin.signal?.aborted) throw error;
      }
    }
  }

  async function batch<Piece extends PieceOfWork<Schema, Config>>(
    pieces: readonly Piece[],
    batchOptions: BatchOptions<Piece> = {},
  ): Promise<void> {
    let { optimistic = false } = batchOptions;
    for (let number = 1; ; number += 1) {
      const failures = new Map<Piece, unknown>();
      try {
        return await commit(batchOptions.signal, (open, send) =>
          runPieces(pieces, { ...batchOptions, optimistic }, { open, send, failures }),
        );
      } catch (error) {
        if (error instanceof FewerChosen && !batchOptions.signal?.aborted) {
          optimistic = false;
          continue;
        }
        if (isStaleStatement(error) && number < TRANSACTION_ATTEMPTS) continue;
        throw new BatchError(error, culpritsOf(failures));
      }
    }
  }

  return { database: options.database.kysely, run, batch };
}

/** Runs `run` in one transaction, writes what it leaves with the COMMIT, and does what follows the commit. */
async function runAndCommit<Schema, Config>(
  options: UnitsOfWorkOptions<Schema, Config>,
  signal: AbortSignal | undefined,
  run: Transacted<WorkContext<Schema, Config>>,
): Promise<void> {
  const left = new Left();
  await options.database.share(
    (shared) =>
      run((origin) => {
        const member = shared.member();
        return { work: workContext(options, origin, member, left, shared.run, signal), member };
      }, shared.run),
    { signal, last: () => left.statements() },
  );
  left.committed(options.onCommit);
}

/** What pieces of work leave: rows that are written at the end of their transaction, and what follows its commit. */
export class Left {
  readonly events: OutboxRow[] = [];
  readonly tasks = new ScheduledTasks();
  /** Kinds of tasks that are due at once. */
  readonly kinds = new Set<string>();
  readonly counts: (() => void)[] = [];

  statements(insert = insertEvents): Statement[] {
    return [...(this.events.length > 0 ? [insert(this.events)] : []), ...this.tasks.statements()];
  }

  committed(onCommit: OnCommit): void {
    for (const each of this.counts) each();
    const events = this.events.length > 0;
    if (events || this.kinds.size > 0) onCommit({ events, kinds: this.kinds });
  }
}

/** The context of one piece of work: events, tasks and counts are collected in `left`. */
export function workContext<Schema, Config>(
  options: Omit<UnitsOfWorkOptions<Schema, Config>, 'database' | 'onCommit'>,
  origin: Origin,
  { transaction, wrote }: Pick<Member<Transaction<Schema>>, 'transaction' | 'wrote'>,
  left: Left,
  send: Send,
  signal: AbortSignal | undefined,
): WorkContext<Schema, Config> {
  const { service, config, now, publications, brokerSince, counters = () => () => {} } = options;
  const { correlationId, causationId, traceparent } = origin;
  return {
    transaction,
    config,
    get log() {
      return origin.log;
    },
    now,
    correlationId,
    ...(signal !== undefined && { signal }),
    async emit(event, data, { aggregate }) {
      const row = outboxRow(event, data, {
        source: `/${service}`,
        aggregate,
        time: now(),
        publications,
        correlationId,
        ...(causationId !== undefined && { causationId }),
        ...(traceparent !== undefined && { traceparent }),
      });
      left.events.push(row);
      wrote();
      return row.id;
    },
    async schedule(kind, task) {
      left.tasks.schedule(kind, task, origin);
      wrote();
      if (task.at === undefined || task.at <= now()) left.kinds.add(kind);
    },
    unschedule(kind, key) {
      wrote();
      return left.tasks.unschedule(kind, key, send);
    },
    discard(kind, key) {
      wrote();
      left.tasks.discard(kind, key);
    },
    count(counter, labels) {
      wrote();
      left.counts.push(counters(counter, labels));
    },
    brokerSince: brokerSince?.(),
  };
}

type Send = (statement: Statement) => Promise<Result>;

type Transacted<Context> = (open: (origin: Origin) => Opened<Context>, send: Send) => Promise<void>;

interface Opened<Context> {
  work: Context;
  member: Pick<Member<unknown>, 'end' | 'hasWritten'>;
}

/** An optimistic batch has run pieces that `first` did not choose. */
class FewerChosen extends Error {
  override readonly name = 'FewerChosen';
}

async function runPieces<Piece extends PieceOfWork>(
  pieces: readonly Piece[],
  { first, signal, optimistic }: BatchOptions<Piece>,
  unit: {
    open: (origin: Origin) => Opened<WorkContext>;
    send: Send;
    failures: Map<Piece, unknown>;
  },
): Promise<void> {
  const { open, send, failures } = unit;
  const choosing = first?.(send) ?? Promise.resolve(pieces);
  choosing.catch(() => {});
  const chosen = optimistic ? pieces : await choosing;
  const unfinished = new Set<Piece>();
  const onAbort = () => {
    for (const piece of unfinished) failures.set(piece, signal?.reason);
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  const runLane = async (lane: readonly Piece[]) => {
    for (const piece of lane) {
      if (failures.size > 0) return;
      const { work, member } = open(piece.origin);
      unfinished.add(piece);
      try {
        await piece.run(work, member);
      } catch (error) {
        if (!failures.has(piece)) failures.set(piece, error);
      } finally {
        unfinished.delete(piece);
        member.end();
      }
    }
  };
  try {
    const lanes = [...Map.groupBy(chosen, ({ key }) => key)].sort(([a], [b]) => (a < b ? -1 : 1));
    // All lanes end, also if one has failed: no statement may follow the rollback.
    await Promise.all(lanes.map(([, lane]) => runLane(lane)));
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
  // Checked first: a piece may have failed because it had been done before.
  if ((await choosing).length < chosen.length) throw new FewerChosen();
  if (failures.size > 0) throw blameOf(failures);
}

/** The error that failed the batch, rather than one that it caused in other pieces. */
function blameOf(failures: ReadonlyMap<unknown, unknown>): unknown {
  const errors = [...failures.values()];
  return errors.find((error) => sqlStateOf(error) !== FAILED_BEFORE) ?? errors[0];
}

/** The pieces that failed by themselves, not because of a lost race, an outage or another piece. */
export function culpritsOf<Piece>(failures: ReadonlyMap<Piece, unknown>): ReadonlySet<Piece> {
  const isOwn = (error: unknown) =>
    sqlStateOf(error) !== FAILED_BEFORE && !isLostRace(error) && !isDatabaseUnavailable(error);
  return new Set([...failures].filter(([, error]) => isOwn(error)).map(([piece]) => piece));
}
