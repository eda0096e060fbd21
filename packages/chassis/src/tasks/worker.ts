// Workers do what acts on the outside: a charge, an e-mail, the end of a session. What is to be done is a row; a worker claims
// it for a while, acts outside any transaction under the task's stable key, and writes the result in a second transaction.
import { randomUUID } from 'node:crypto';
import { type Kysely, type QueryExecutorProvider, sql } from 'kysely';
import { backoff } from '../backoff.ts';
import { abortable, pause, timeLimit, Waker } from '../concurrency.ts';
import { BatchError, type Logger, type PieceOfWork, type UnitsOfWork, type WorkContext } from '../context.ts';
import type { Availability } from '../database/availability.ts';
import { isDatabaseUnavailable } from '../database/outage.ts';
import type { Statement } from '../database/pipeline.ts';
import { asError } from '../errors.ts';
import { inParts, runBatches } from '../parts.ts';
import { childOf } from '../telemetry/log.ts';
import { SpanKind, withSpan } from '../telemetry/tracing.ts';
import { isLostRace } from '../units-of-work.ts';

export interface Task<Data extends object = object> {
  /** Stable: the same for every attempt, so that the outside can recognize a repeat. */
  key: string;
  data: Data;
  /** This attempt's number, from 1. */
  attempts: number;
}

/** What `perform` is given besides its task. */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export interface TaskContext<Schema = any, Config = any> {
  /** Aborted when its time is over. */
  signal: AbortSignal;
  config: Config;
  log: Logger;
  /** For reads, and for a stand-in of the outside that keeps its books here: each statement is its own transaction. */
  database: Kysely<Schema>;
}

/** How one kind of task is done. */
// biome-ignore lint/suspicious/noExplicitAny: workers of different kinds stand in one list
export interface Worker<Data extends object = any, Result = any, Schema = any, Config = any> {
  kind: string;
  /**
   * Acts on the outside, in no transaction. It may be done again under the same key when this process dies before `complete`
   * has committed. An error means: try again later, after a growing delay.
   */
  perform?(task: Task<Data>, context: TaskContext<Schema, Config>): Promise<Result>;
  /** Writes what came of it, in one transaction that also ends the task. */
  complete(task: Task<Data>, result: Result, work: WorkContext<Schema, Config>): Promise<void>;
  /** Lets go of what `perform` has opened, e.g. its connections: called when the service stops, after the last task. */
  close?(config: Config): void;
  /** ms that `perform` may take; default 30,000. */
  timeout?: number;
  /** Tasks at once in this process; default 2. */
  concurrency?: number;
}

interface ClaimedTask {
  id: string;
  key: string;
  data: object;
  attempts: number;
  correlation_id: string;
  causation_id: string | null;
  traceparent: string | null;
}

/** A task that has been acted upon, and is to be settled with others in one transaction. */
interface PerformedTask extends PieceOfWork {
  claimed: ClaimedTask;
}

const POLL_INTERVAL_MS = 1_000;
/** Attempts of a complete that loses against another transaction. */
const COMPLETE_ATTEMPTS = 3;
/** ms between the attempts of a task that fails: doubling, from the first to the last. */
const RETRY_MS = { min: 1_000, max: 300_000 };
/** Tasks at once that are settled each alone, after a batch has failed. */
const COMPLETED_ALONE = 2;
/** ms after which a batch of settles is slow, and does not hold up the next one; and such batches beside each other. */
const SLOW_BATCH_MS = 250;
const COMPLETED_AT_ONCE = 3;
/** ms that settling may take. */
const COMPLETE_TIMEOUT_MS = 10_000;
/** ms after which somebody else takes over the task of a process that died; one that lives renews its claim in time. */
const LEASE_MS = 20_000;
const LEASE_RENEWAL_MS = 5_000;
/** Tasks that one process has claimed at most, whatever is done at once: as many as are acted upon in `AHEAD_MS`. */
const CLAIM_LIMIT = 100;
const AHEAD_MS = 100;
/** Share of the last act in the mean. */
const LATEST_WEIGHT = 0.2;

export class WorkerRunner {
  readonly #worker: Worker;
  readonly #units: UnitsOfWork;
  readonly #config: unknown;
  readonly #log: Logger;
  readonly #availability: Pick<Availability, 'check'>;
  readonly #stopping = new AbortController();
  readonly #holder = randomUUID();
  readonly #lanes: number;
  /** Claimed, by id: those that wait for a lane, those that are performed, and those that wait to be completed. */
  readonly #claimed = new Map<string, ClaimedTask>();
  #ready: ClaimedTask[] = [];
  #performing = 0;
  #performed: PerformedTask[] = [];
  readonly #startCompleting: () => void;
  /** ms that an act takes, on average. */
  #performMs: number;
  #running: Promise<void> | undefined;
  readonly #waker = new Waker();
  #failure: unknown;
  #complained = false;

  constructor(
    worker: Worker,
    options: { units: UnitsOfWork; config: unknown; log: Logger; availability?: Pick<Availability, 'check'> },
  ) {
    this.#worker = worker;
    this.#units = options.units;
    this.#config = options.config;
    this.#log = options.log.child({ task: worker.kind });
    this.#availability = options.availability ?? { check: async () => false };
    this.#lanes = worker.concurrency ?? 2;
    this.#performMs = worker.perform === undefined ? 0 : AHEAD_MS;
    this.#startCompleting = runBatches({
      next: () => this.#performed.splice(0),
      run: (batch) => this.#complete(batch),
      slow: SLOW_BATCH_MS,
      atOnce: COMPLETED_AT_ONCE,
    });
  }

  get kind(): string {
    return this.#worker.kind;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** A task of this kind was committed in this process. */
  wake(): void {
    this.#waker.wake();
  }

  /** Claims nothing more, and finishes what it has. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.wake();
    await this.#running;
    this.#worker.close?.(this.#config);
  }

  /** Claims for all lanes: a statement for as many tasks as will be done soon. */
  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const delays = backoff({ min: 200, max: 5_000 });
    const renewal = setInterval(() => void this.#renew(), LEASE_RENEWAL_MS);
    let more = false;
    while (!signal.aborted) {
      try {
        if (this.#failure !== undefined) throw this.#failure;
        this.#waker.reset();
        const wanted = this.#capacity() - this.#claimed.size;
        // Without room there may be more than is known.
        more ||= wanted <= 0;
        if (wanted > 0) {
          const tasks = await this.#claim(wanted);
          more = tasks.length === wanted;
          if (this.#complained) this.#log.info('task worker recovered');
          this.#complained = false;
          delays.reset();
          for (const task of tasks) this.#claimed.set(task.id, task);
          this.#ready.push(...tasks);
          this.#fillLanes();
        }
        const isOver = () => this.#failure !== undefined || (more && this.#hasRoom());
        await this.#waker.sleepUntil(isOver, POLL_INTERVAL_MS);
      } catch (error) {
        this.#complain(error);
        await pause(delays.next(), signal);
        this.#failure = undefined;
      }
    }
    await this.#release();
    while (this.#claimed.size > 0) {
      this.#waker.reset();
      await this.#waker.sleepUntil(() => this.#claimed.size === 0, POLL_INTERVAL_MS);
    }
    clearInterval(renewal);
    if (this.#failure !== undefined) this.#complain(this.#failure);
  }

  /** Tasks that this process may have claimed now: at least one a lane, more where acts are short. */
  #capacity(): number {
    const soon = (this.#lanes * AHEAD_MS) / Math.max(this.#performMs, 1);
    return Math.max(this.#lanes, Math.min(CLAIM_LIMIT, Math.floor(soon)));
  }

  /** Worth a claim: a lane is free, or half of what may be claimed. */
  #hasRoom(): boolean {
    const room = this.#capacity() - this.#claimed.size;
    return room > 0 && (this.#ready.length === 0 || room >= this.#capacity() / 2);
  }

  #complain(error: unknown): void {
    if (!this.#complained) this.#log.warn({ err: error }, 'cannot claim or complete tasks; retrying');
    this.#complained = true;
  }

  /**
   * A claim is a due date in the future: when its holder dies, somebody else finds it due. By the time of the statement,
   * which an index is searched for; by one that goes on, every look would read all that is not due yet.
   */
  async #claim(limit: number): Promise<ClaimedTask[]> {
    const { rows } = await sql<ClaimedTask>`
      update warren.tasks set lease = ${this.#holder}, attempts = attempts + 1,
             due_at = clock_timestamp() + make_interval(secs => ${LEASE_MS / 1_000})
      where id = any(array(
        select id from warren.tasks where kind = ${this.#worker.kind} and due_at <= statement_timestamp()
        order by due_at limit ${limit} for update skip locked))
      returning id, key, data, attempts, correlation_id, causation_id, traceparent`.execute(
      this.#units.database,
    );
    return rows;
  }

  // --- Performing ---

  #fillLanes(): void {
    while (this.#performing < this.#lanes) {
      const task = this.#ready.shift();
      if (task === undefined) return;
      this.#performing += 1;
      void this.#perform(task).finally(() => {
        this.#performing -= 1;
        this.#fillLanes();
        this.#startCompleting();
        this.#waker.nudge();
      });
    }
  }

  async #perform(claimed: ClaimedTask): Promise<void> {
    const { key, data, attempts, correlation_id: correlationId, causation_id, traceparent } = claimed;
    const { perform, complete, timeout = 30_000 } = this.#worker;
    const task: Task = { key, data, attempts };
    const parent = traceparent ?? undefined;
    const log = childOf(this.#log, () => ({ key, correlationId }));
    const started = performance.now();
    let result: unknown;
    try {
      if (perform !== undefined) {
        const limit = timeLimit(timeout);
        const { signal } = limit;
        const context: TaskContext = {
          signal,
          config: this.#config,
          get log() {
            return log();
          },
          database: this.#units.database,
        };
        result = await withSpan(`${this.#worker.kind} task`, { kind: SpanKind.INTERNAL, parent }, () =>
          abortable((async () => perform.call(this.#worker, task, context))(), signal),
        ).finally(limit.clear);
        this.#performMs += LATEST_WEIGHT * (performance.now() - started - this.#performMs);
      }
    } catch (error) {
      return this.#putOff(claimed, error, log());
    }
    this.#performed.push({
      claimed,
      key,
      origin: {
        correlationId,
        get log() {
          return log();
        },
        ...(causation_id !== null && { causationId: causation_id }),
        ...(parent !== undefined && { traceparent: parent }),
      },
      run: (work) =>
        withSpan(`${this.#worker.kind} complete`, { kind: SpanKind.INTERNAL, parent }, () =>
          complete.call(this.#worker, task, result, work),
        ),
    });
  }

  // --- Completing ---

  /** What has been acted upon when the last batch has ended shares a transaction. */
  async #complete(batch: readonly PerformedTask[]): Promise<void> {
    await inParts(batch, {
      together: (pieces) => this.#completeTogether(pieces),
      alone: (piece) => this.#completeAlone(piece),
      concurrency: COMPLETED_ALONE,
      isLeft: ({ claimed: { id } }) => this.#claimed.has(id),
      goesOn: async (cause) => {
        if (!isDatabaseUnavailable(cause) || (await this.#availability.check(cause))) return true;
        this.#failure ??= cause;
        return false;
      },
    }).catch((error) => {
      this.#failure ??= error;
    });
    // What could not be settled is done again when its lease is over.
    for (const { claimed } of batch) this.#claimed.delete(claimed.id);
    this.#waker.nudge();
  }

  async #completeTogether(pieces: readonly PerformedTask[]): Promise<void> {
    const lost = new Set<PerformedTask>();
    const limit = timeLimit(COMPLETE_TIMEOUT_MS);
    const completing = this.#units.batch(pieces, {
      signal: limit.signal,
      optimistic: pieces.every(({ claimed }) => claimed.attempts === 1),
      // First, so that whoever lost the lease to another writes nothing.
      first: async (run) => {
        const ids = pieces.map(({ claimed: { id } }) => id);
        const { rows } = await run(endTasks(this.#holder, ids));
        const ended = new Set(rows.map(({ id }) => id as string));
        lost.clear();
        for (const piece of pieces) if (!ended.has(piece.claimed.id)) lost.add(piece);
        return pieces.filter((piece) => !lost.has(piece));
      },
    });
    await completing.finally(limit.clear);
    for (const { origin } of lost) origin.log.warn('lease lost: another replica has taken over this task');
    for (const { claimed } of pieces) this.#claimed.delete(claimed.id);
  }

  async #completeAlone(piece: PerformedTask): Promise<void> {
    for (let number = 1; ; number += 1) {
      try {
        return await this.#completeTogether([piece]);
      } catch (thrown) {
        const error = thrown instanceof BatchError ? thrown.cause : thrown;
        if (isLostRace(error) && number < COMPLETE_ATTEMPTS) continue;
        // An outage that a probe does not meet is this task's own.
        if (isDatabaseUnavailable(error) && !(await this.#availability.check(error))) {
          this.#failure ??= error;
          return;
        }
        return this.#putOff(piece.claimed, error, piece.origin.log);
      }
    }
  }

  /** To be tried again, after a delay that grows. */
  async #putOff({ id, attempts }: ClaimedTask, error: unknown, log: Logger): Promise<void> {
    const delay = Math.min(RETRY_MS.max, RETRY_MS.min * 2 ** (attempts - 1)) * (0.8 + Math.random() * 0.4);
    try {
      const { numAffectedRows } = await sql`
        update warren.tasks set due_at = clock_timestamp() + make_interval(secs => ${delay / 1_000}), lease = null,
               last_error = ${asError(error).message.replaceAll('\0', '').slice(0, 1_000)}
        where id = ${id} and lease = ${this.#holder} and attempts = ${attempts}`.execute(
        this.#units.database,
      );
      if (numAffectedRows === 1n)
        log.warn({ err: error, attempts, delay: Math.round(delay) }, 'task failed; retrying later');
    } catch (failure) {
      this.#failure ??= failure;
    } finally {
      this.#claimed.delete(id);
    }
  }

  /** A claim that cannot be renewed ends by itself, and then somebody else may do the task, under the same key. */
  async #renew(): Promise<void> {
    if (this.#claimed.size === 0) return;
    try {
      await sql`
        update warren.tasks set due_at = clock_timestamp() + make_interval(secs => ${LEASE_MS / 1_000})
        where id = any(${[...this.#claimed.keys()]}::bigint[]) and lease = ${this.#holder}`.execute(
        this.#units.database,
      );
    } catch (error) {
      this.#log.debug({ err: error }, 'cannot renew leases');
    }
  }

  /** What no lane has begun is anybody's again, at once. */
  async #release(): Promise<void> {
    const ids = this.#ready.map(({ id }) => id);
    this.#ready = [];
    for (const id of ids) this.#claimed.delete(id);
    if (ids.length === 0) return;
    try {
      await sql`
        update warren.tasks set due_at = statement_timestamp(), lease = null, attempts = attempts - 1
        where id = any(${ids}::bigint[]) and lease = ${this.#holder}`.execute(this.#units.database);
    } catch (error) {
      this.#log.debug({ err: error }, 'cannot release leases; they will expire');
    }
  }
}

/** Ends the tasks that this holder still has; returns their ids. */
const endTasks = (holder: string, ids: readonly string[]): Statement => ({
  text: 'delete from warren.tasks where id = any($1::bigint[]) and lease = $2 returning id',
  values: [ids, holder],
});

/** Tasks of these kinds that should be done by now: due, or put off because they failed. */
export async function countPendingTasks(
  database: QueryExecutorProvider,
  kinds: readonly string[],
): Promise<{ kind: string; pending: number }[]> {
  const { rows } = await sql<{ kind: string; pending: string }>`
    select kind,
           (select count(*) from warren.tasks
             where tasks.kind = wanted.kind and last_error is null and due_at <= statement_timestamp())
         + (select count(*) from warren.tasks where tasks.kind = wanted.kind and last_error is not null) as pending
    from unnest(${kinds}::text[]) as wanted (kind)`.execute(database);
  return rows.map(({ kind, pending }) => ({ kind, pending: Number(pending) }));
}
