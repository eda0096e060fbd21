// Does the tasks of one kind in this process. The states of a task that it has claimed:
//
//   READY        waits for a lane.  At a stop ──► released: another process may claim it at once
//   PERFORMING   `perform` runs, in no transaction.  Fails ──► POSTPONED
//   PERFORMED    waits for its batch (completion.ts)
//   COMPLETING   `complete` runs with its batch in one transaction, which also deletes the task
//                  committed ──► done
//                  fails by itself ──► POSTPONED
//                  the database is unavailable ──► forgotten: it is claimed again when its lease expires
//   POSTPONED    claimed again after a delay that grows with its attempts
//
// If this process dies, the leases of all of these expire, and another process does the tasks again, under the same keys.
import { backoff } from '../backoff.ts';
import { abortable, pause, timeLimit, Waker } from '../concurrency.ts';
import type { Log, Logger, UnitsOfWork } from '../context.ts';
import type { Availability } from '../database/availability.ts';
import type { Send } from '../database/statements.ts';
import { childOf } from '../telemetry/child.ts';
import { SpanKind, withSpan } from '../telemetry/tracing.ts';
import { Completion, type PerformedTask } from './completion.ts';
import { type ClaimedTask, LEASE_RENEWAL_MS, Leases } from './leases.ts';
import type { Task, TaskContext, Worker } from './worker.ts';

export interface WorkerRunnerOptions {
  units: UnitsOfWork;
  /** Runs a statement in a transaction of its own. */
  send: Send;
  config: unknown;
  log: Log;
  availability?: Pick<Availability, 'check'>;
}

const POLL_INTERVAL_MS = 1_000;
/** Between the attempts of a task that fails: doubling, from the first to the last. */
const RETRY_MS = { min: 1_000, max: 300_000 };
const PERFORM_TIMEOUT_MS = 30_000;
const LANES = 2;
/** Tasks that one process has claimed at most: as many as are performed in `CLAIM_AHEAD_MS`. */
const CLAIM_LIMIT = 100;
const CLAIM_AHEAD_MS = 100;
/** Share of the last `perform` in the mean duration. */
const LATEST_WEIGHT = 0.2;

export class WorkerRunner {
  readonly #worker: Worker;
  readonly #options: WorkerRunnerOptions;
  readonly #log: Logger;
  readonly #leases: Leases;
  readonly #completion: Completion;
  readonly #lanes: number;
  /** All claimed tasks, by id; of these, the READY ones, and how many are PERFORMING. */
  readonly #claimed = new Map<string, ClaimedTask>();
  #ready: ClaimedTask[] = [];
  #performing = 0;
  /** Mean duration of `perform`. */
  #performMs: number;
  /** Whether more tasks may be due than were claimed. */
  #hasMore = false;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  readonly #waker = new Waker();
  readonly #delays = backoff({ min: 200, max: 5_000 });
  /** Why the database cannot be used; claiming pauses. */
  #failure: unknown;
  #isFailureLogged = false;

  constructor(worker: Worker, options: WorkerRunnerOptions) {
    this.#worker = worker;
    this.#options = options;
    this.#log = childOf(options.log, () => ({ task: worker.kind }))();
    this.#leases = new Leases(worker.kind, options.send);
    this.#lanes = worker.concurrency ?? LANES;
    this.#performMs = worker.perform === undefined ? 0 : CLAIM_AHEAD_MS;
    this.#completion = new Completion({
      units: options.units,
      leases: this.#leases,
      availability: options.availability ?? { check: async () => false },
      isClaimed: ({ claimed }) => this.#claimed.has(claimed.id),
      onEnd: (tasks) => this.#forget(tasks.map(({ claimed }) => claimed)),
      onFailed: ({ claimed, origin }, error) => this.#postpone(claimed, error, origin.log),
      onUnavailable: (error) => this.#fail(error),
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

  /** Claims nothing more, and finishes the tasks that were begun. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.wake();
    await this.#running;
    this.#worker.close?.(this.#options.config);
  }

  async #run(): Promise<void> {
    const renewal = setInterval(() => void this.#renew(), LEASE_RENEWAL_MS);
    while (!this.#stopping.signal.aborted) await this.#claimAndSleep();
    await this.#release();
    while (this.#claimed.size > 0) {
      this.#waker.reset();
      await this.#waker.sleepUntil(() => this.#claimed.size === 0, POLL_INTERVAL_MS);
    }
    clearInterval(renewal);
    if (this.#failure !== undefined) this.#logFailure(this.#failure);
  }

  // --- Claiming ---

  async #claimAndSleep(): Promise<void> {
    try {
      if (this.#failure !== undefined) throw this.#failure;
      this.#waker.reset();
      await this.#claim();
      const isOver = () => this.#failure !== undefined || (this.#hasMore && this.#isWorthAClaim());
      await this.#waker.sleepUntil(isOver, POLL_INTERVAL_MS);
    } catch (error) {
      this.#logFailure(error);
      await pause(this.#delays.next(), this.#stopping.signal);
      this.#failure = undefined;
    }
  }

  /** Claims with one statement as many tasks as will be performed soon. */
  async #claim(): Promise<void> {
    const room = this.#capacity() - this.#claimed.size;
    this.#hasMore ||= room <= 0;
    if (room <= 0) return;
    const tasks = await this.#leases.claim(room);
    this.#hasMore = tasks.length === room;
    if (this.#isFailureLogged) this.#log.info('task worker recovered');
    this.#isFailureLogged = false;
    this.#delays.reset();
    for (const task of tasks) this.#claimed.set(task.id, task);
    this.#ready.push(...tasks);
    this.#fillLanes();
  }

  /** At least one task a lane; more where `perform` is short. */
  #capacity(): number {
    const soon = (this.#lanes * CLAIM_AHEAD_MS) / Math.max(this.#performMs, 1);
    return Math.max(this.#lanes, Math.min(CLAIM_LIMIT, Math.floor(soon)));
  }

  /** A lane is free, or half of what may be claimed. */
  #isWorthAClaim(): boolean {
    const room = this.#capacity() - this.#claimed.size;
    return room > 0 && (this.#ready.length === 0 || room >= this.#capacity() / 2);
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
  }

  #logFailure(error: unknown): void {
    if (!this.#isFailureLogged) this.#log.warn({ err: error }, 'cannot claim or complete tasks; retrying');
    this.#isFailureLogged = true;
  }

  #forget(tasks: readonly ClaimedTask[]): void {
    for (const { id } of tasks) this.#claimed.delete(id);
    this.#waker.nudge();
  }

  /** A lease that cannot be renewed expires. */
  async #renew(): Promise<void> {
    if (this.#claimed.size === 0) return;
    await this.#leases
      .renew([...this.#claimed.keys()])
      .catch((error) => this.#log.debug({ err: error }, 'cannot renew leases'));
  }

  /** Releases the READY tasks. */
  async #release(): Promise<void> {
    const tasks = this.#ready.splice(0);
    this.#forget(tasks);
    if (tasks.length === 0) return;
    await this.#leases
      .release(tasks.map(({ id }) => id))
      .catch((error) => this.#log.debug({ err: error }, 'cannot release leases; they will expire'));
  }

  // --- Performing ---

  #fillLanes(): void {
    while (this.#performing < this.#lanes) {
      const task = this.#ready.shift();
      if (task === undefined) return;
      this.#performing += 1;
      void this.#do(task).finally(() => {
        this.#performing -= 1;
        this.#fillLanes();
        this.#completion.start();
        this.#waker.nudge();
      });
    }
  }

  async #do(claimed: ClaimedTask): Promise<void> {
    const { key, data, attempts, correlation_id: correlationId } = claimed;
    const log = childOf(this.#log, () => ({ key, correlationId }));
    const task: Task = { key, data, attempts };
    try {
      const result = await this.#perform(claimed, task, log);
      this.#completion.add(this.#performedTask(claimed, task, result, log));
    } catch (error) {
      await this.#postpone(claimed, error, log());
    }
  }

  async #perform({ traceparent }: ClaimedTask, task: Task, log: () => Logger): Promise<unknown> {
    const { kind, perform, timeout = PERFORM_TIMEOUT_MS } = this.#worker;
    if (perform === undefined) return undefined;
    const limit = timeLimit(timeout);
    const context: TaskContext = {
      signal: limit.signal,
      config: this.#options.config,
      get log() {
        return log();
      },
      database: this.#options.units.database,
    };
    const started = performance.now();
    const result = await withSpan(`${kind} task`, spanOf(traceparent), () =>
      abortable((async () => perform.call(this.#worker, task, context))(), limit.signal),
    ).finally(limit.clear);
    this.#performMs += LATEST_WEIGHT * (performance.now() - started - this.#performMs);
    return result;
  }

  #performedTask(claimed: ClaimedTask, task: Task, result: unknown, log: () => Logger): PerformedTask {
    const { key, correlation_id: correlationId, causation_id: causationId, traceparent } = claimed;
    return {
      claimed,
      key,
      origin: {
        correlationId,
        get log() {
          return log();
        },
        ...(causationId !== null && { causationId }),
        ...(traceparent !== null && { traceparent }),
      },
      run: (work) =>
        withSpan(`${this.#worker.kind} complete`, spanOf(traceparent), () =>
          this.#worker.complete(task, result, work),
        ),
    };
  }

  async #postpone(claimed: ClaimedTask, error: unknown, log: Logger): Promise<void> {
    const { attempts } = claimed;
    const delay = Math.min(RETRY_MS.max, RETRY_MS.min * 2 ** (attempts - 1)) * (0.8 + Math.random() * 0.4);
    try {
      if (await this.#leases.postpone(claimed, delay, error))
        log.warn({ err: error, attempts, delay: Math.round(delay) }, 'task failed; retrying later');
    } catch (failure) {
      this.#fail(failure);
    } finally {
      this.#forget([claimed]);
    }
  }
}

const spanOf = (traceparent: string | null) => ({
  kind: SpanKind.INTERNAL,
  parent: traceparent ?? undefined,
});
