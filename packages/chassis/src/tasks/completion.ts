// Completes tasks in batches: everything that was performed while the last batch ran shares a transaction. A batch that fails is
// completed again in smaller ones, until each task that fails is by itself.
import { inParts, runBatches } from '../batches.ts';
import { timeLimit } from '../concurrency.ts';
import { BatchError, type PieceOfWork, type UnitsOfWork } from '../context.ts';
import type { Availability } from '../database/availability.ts';
import { isDatabaseUnavailable } from '../database/outage.ts';
import { isLostRace } from '../units-of-work.ts';
import type { ClaimedTask, Leases } from './leases.ts';

/** A task that waits to be completed. */
export interface PerformedTask extends PieceOfWork {
  claimed: ClaimedTask;
}

export interface CompletionOptions {
  units: UnitsOfWork;
  leases: Leases;
  availability: Pick<Availability, 'check'>;
  isClaimed(task: PerformedTask): boolean;
  /** They are completed; or they are to be claimed again, when their leases have expired. */
  onEnd(tasks: readonly PerformedTask[]): void;
  /** It failed by itself. */
  onFailed(task: PerformedTask, error: unknown): Promise<void>;
  onUnavailable(error: unknown): void;
}

/** The outcome of a task that was completed by itself. */
type Outcome = { kind: 'completed' } | { kind: 'failed' | 'unavailable'; error: unknown };

/** Time for the transaction of a batch. */
const COMPLETE_TIMEOUT_MS = 10_000;
/** A batch that takes longer does not delay the next one. */
const SLOW_BATCH_MS = 250;
const BATCH_CONCURRENCY = 3;
/** Of the tasks of a failed batch that are completed one by one. */
const ALONE_CONCURRENCY = 2;
/** Of a transaction that loses against another one. */
const COMPLETE_ATTEMPTS = 3;

export class Completion {
  readonly #options: CompletionOptions;
  #waiting: PerformedTask[] = [];
  /** Call it when a task waits. */
  readonly start: () => void;

  constructor(options: CompletionOptions) {
    this.#options = options;
    this.start = runBatches({
      next: () => this.#waiting.splice(0),
      run: (batch) => this.#run(batch),
      slow: SLOW_BATCH_MS,
      atOnce: BATCH_CONCURRENCY,
    });
  }

  add(task: PerformedTask): void {
    this.#waiting.push(task);
  }

  async #run(batch: readonly PerformedTask[]): Promise<void> {
    const { isClaimed, onEnd, onUnavailable } = this.#options;
    await inParts(batch, {
      together: (tasks) => this.#together(tasks),
      alone: (task) => this.#alone(task),
      concurrency: ALONE_CONCURRENCY,
      isLeft: isClaimed,
      goesOn: async (cause) => {
        const isUnavailable = await this.#isUnavailable(cause);
        if (isUnavailable) onUnavailable(cause);
        return !isUnavailable;
      },
    }).catch(onUnavailable);
    onEnd(batch);
  }

  async #together(tasks: readonly PerformedTask[]): Promise<void> {
    const { units, leases, onEnd } = this.#options;
    const lost = new Set<PerformedTask>();
    const limit = timeLimit(COMPLETE_TIMEOUT_MS);
    const completing = units.batch(tasks, {
      signal: limit.signal,
      optimistic: tasks.every(({ claimed }) => claimed.attempts === 1),
      // The deletes come first: for a task whose lease is lost nothing is written.
      first: async (run) => {
        const { rows } = await run(leases.endTasks(tasks.map(({ claimed: { id } }) => id)));
        const ended = new Set(rows.map(({ id }) => id as string));
        lost.clear();
        for (const task of tasks) if (!ended.has(task.claimed.id)) lost.add(task);
        return tasks.filter((task) => !lost.has(task));
      },
    });
    await completing.finally(limit.clear);
    for (const { origin } of lost) origin.log.warn('lease lost: another replica has taken over this task');
    onEnd(tasks);
  }

  async #alone(task: PerformedTask): Promise<void> {
    const outcome = await this.#attempt(task);
    if (outcome.kind === 'unavailable') this.#options.onUnavailable(outcome.error);
    if (outcome.kind === 'failed') await this.#options.onFailed(task, outcome.error);
  }

  async #attempt(task: PerformedTask): Promise<Outcome> {
    for (let number = 1; ; number += 1) {
      try {
        await this.#together([task]);
        return { kind: 'completed' };
      } catch (thrown) {
        const error = thrown instanceof BatchError ? thrown.cause : thrown;
        if (isLostRace(error) && number < COMPLETE_ATTEMPTS) continue;
        return { kind: (await this.#isUnavailable(error)) ? 'unavailable' : 'failed', error };
      }
    }
  }

  /** A connection error is this task's own if a probe of the database succeeds. */
  async #isUnavailable(error: unknown): Promise<boolean> {
    return isDatabaseUnavailable(error) && !(await this.#options.availability.check(error));
  }
}
