// Workers do what acts on the outside: a charge, an e-mail, the end of a session. What is to be done is a row; a worker claims
// it for a while, acts outside any transaction under the task's stable key, and writes the result in a second transaction.
import { randomUUID } from 'node:crypto';
import { type Kysely, type QueryExecutorProvider, sql } from 'kysely';
import { backoff, pause } from '../backoff.ts';
import type { Logger, ScheduledTask, Units, Work } from '../context.ts';
import type { Availability } from '../database/availability.ts';
import { isDatabaseUnavailable } from '../database/outage.ts';
import { asError } from '../errors.ts';
import { SpanKind, withSpan } from '../telemetry/tracing.ts';

export interface Task<Data extends object = object> {
  /** Stable: the same for every attempt, so that the outside can recognize a repeat. */
  key: string;
  data: Data;
  /** This attempt's number, from 1. */
  attempts: number;
}

/** What `act` is given besides its task. */
// biome-ignore lint/suspicious/noExplicitAny: see Work
export interface Acting<Schema = any, Config = any> {
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
   * Acts on the outside, in no transaction. It may be done again under the same key when this process dies before `settle`
   * has committed. An error means: try again later, after a growing delay.
   */
  act?(task: Task<Data>, context: Acting<Schema, Config>): Promise<Result>;
  /** Writes what came of it, in one transaction that also ends the task. */
  settle(task: Task<Data>, result: Result, work: Work<Schema, Config>): Promise<void>;
  /** Lets go of what `act` has opened, e.g. its connections: called when the service stops, after the last task. */
  close?(config: Config): void;
  /** ms that `act` may take; default 30,000. */
  timeout?: number;
  /** Tasks at once in this process; default 2. */
  concurrency?: number;
}

/** Writes a pending row. While one of the same kind and key is pending, this changes nothing. */
export async function scheduleTask(
  transaction: QueryExecutorProvider,
  kind: string,
  { key, at, data = {} }: ScheduledTask,
  origin: { correlationId: string; traceparent?: string },
): Promise<void> {
  await sql`
    insert into warren.tasks (kind, key, data, due_at, correlation_id, traceparent)
    values (${kind}, ${key}, ${JSON.stringify(data)}::jsonb, coalesce(${at ?? null}::timestamptz, now()),
            ${origin.correlationId}, ${origin.traceparent ?? null})
    on conflict (kind, key) do nothing`.execute(transaction);
}

/** Deletes a pending row that no worker has begun, and says whether there was one. */
export async function unscheduleTask(
  transaction: QueryExecutorProvider,
  kind: string,
  key: string,
): Promise<boolean> {
  const { numAffectedRows } = await sql`
    delete from warren.tasks where kind = ${kind} and key = ${key} and attempts = 0`.execute(transaction);
  return numAffectedRows === 1n;
}

interface Claimed {
  id: string;
  key: string;
  data: object;
  attempts: number;
  correlation_id: string;
  traceparent: string | null;
}

const POLL = 1_000;
/** ms between the attempts of a task that fails: doubling, from the first to the last. */
const RETRY = { min: 1_000, max: 300_000 };
/** What settling may take, on top of acting. */
const SETTLE_TIMEOUT = 10_000;
/** ms after which somebody else takes over the task of a process that died; one that lives renews its claim in time. */
const LEASE = 20_000;
const RENEW = 5_000;

export class WorkerRunner {
  readonly #worker: Worker;
  readonly #units: Units;
  readonly #config: unknown;
  readonly #log: Logger;
  readonly #availability: Pick<Availability, 'check'>;
  readonly #stopping = new AbortController();
  readonly #holder = randomUUID();
  #running: Promise<void> | undefined;
  #resume: () => void = () => {};
  #wakes = 0;
  #complained = false;

  constructor(
    worker: Worker,
    options: { units: Units; config: unknown; log: Logger; availability?: Pick<Availability, 'check'> },
  ) {
    this.#worker = worker;
    this.#units = options.units;
    this.#config = options.config;
    this.#log = options.log.child({ task: worker.kind });
    this.#availability = options.availability ?? { check: async () => false };
  }

  get kind(): string {
    return this.#worker.kind;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** A task of this kind was committed in this process. */
  wake(): void {
    this.#wakes += 1;
    this.#resume();
  }

  /** Claims nothing more, and finishes what it has. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.wake();
    await this.#running;
    this.#worker.close?.(this.#config);
  }

  /** One looks for work, for as many as are free: a statement a look, however many tasks may be done at once. */
  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const delays = backoff({ min: 200, max: 5_000 });
    const lanes = this.#worker.concurrency ?? 2;
    const doing = new Set<Promise<void>>();
    let more = false;
    let failure: unknown;
    while (!signal.aborted) {
      try {
        if (failure !== undefined) throw failure;
        const wakes = this.#wakes;
        const free = lanes - doing.size;
        if (free > 0) {
          const tasks = await this.#claim(free);
          more = tasks.length === free;
          if (this.#complained) this.#log.info('tasks are being done again');
          this.#complained = false;
          delays.reset();
          for (const task of tasks) {
            const done = this.#do(task)
              .catch((error) => {
                failure ??= error;
              })
              .finally(() => {
                doing.delete(done);
                if (more || failure !== undefined) this.wake();
              });
            doing.add(done);
          }
          if (more && doing.size < lanes) continue;
        }
        await this.#idle(wakes);
      } catch (error) {
        this.#complain(error);
        await pause(delays.next(), signal);
        failure = undefined;
      }
    }
    await Promise.all(doing);
    if (failure !== undefined) this.#complain(failure);
  }

  #complain(error: unknown): void {
    if (!this.#complained)
      this.#log.warn({ err: error }, 'tasks cannot be claimed or settled now; they wait');
    this.#complained = true;
  }

  /**
   * A claim is a due date in the future: when its holder dies, somebody else finds it due. By the time of the statement,
   * which an index is searched for; by one that goes on, every look would read all that is not due yet.
   */
  async #claim(limit: number): Promise<Claimed[]> {
    const { rows } = await sql<Claimed>`
      update warren.tasks set lease = ${this.#holder}, attempts = attempts + 1,
             due_at = clock_timestamp() + make_interval(secs => ${LEASE / 1_000})
      where id = any(array(
        select id from warren.tasks where kind = ${this.#worker.kind} and due_at <= statement_timestamp()
        order by due_at limit ${limit} for update skip locked))
      returning id, key, data, attempts, correlation_id, traceparent`.execute(this.#units.database);
    return rows;
  }

  async #do(claimed: Claimed): Promise<void> {
    const { id, key, data, attempts, correlation_id: correlationId, traceparent } = claimed;
    const task: Task = { key, data, attempts };
    const log = this.#log.child({ key, correlationId });
    const parent = traceparent ?? undefined;
    const timeout = this.#worker.timeout ?? 30_000;
    let acted = false;
    const renewal = setInterval(() => void this.#renew(claimed), RENEW);
    try {
      await withSpan(`${this.#worker.kind} task`, { kind: SpanKind.INTERNAL, parent }, async () => {
        const signal = AbortSignal.timeout(timeout);
        const result = await Promise.race([
          this.#worker.act?.(task, { signal, config: this.#config, log, database: this.#units.database }),
          rejectOn(signal),
        ]);
        acted = true;
        const origin = { correlationId, log, signal: AbortSignal.timeout(SETTLE_TIMEOUT) };
        await this.#units.work(
          parent === undefined ? origin : { ...origin, traceparent: parent },
          async (work) => {
            // First, so that whoever lost the lease to another writes nothing.
            const { numAffectedRows } = await sql`
            delete from warren.tasks where id = ${id} and lease = ${this.#holder} and attempts = ${attempts}`.execute(
              work.transaction,
            );
            if (numAffectedRows !== 1n) throw new LeaseLost(key);
            await this.#worker.settle(task, result, work);
          },
        );
      });
    } catch (error) {
      if (error instanceof LeaseLost)
        return log.warn('another replica has taken this task over; leaving it to that one');
      // What an act could not reach is not this database; and an outage that a probe does not meet is this task's own.
      if (acted && isDatabaseUnavailable(error) && !(await this.#availability.check(error))) throw error;
      const delay = Math.min(RETRY.max, RETRY.min * 2 ** (attempts - 1)) * (0.8 + Math.random() * 0.4);
      log.warn({ err: error, attempts, delay: Math.round(delay) }, 'a task failed; it will be tried again');
      await sql`
        update warren.tasks set due_at = clock_timestamp() + make_interval(secs => ${delay / 1_000}), lease = null,
               last_error = ${asError(error).message.replaceAll('\0', '').slice(0, 1_000)}
        where id = ${id} and lease = ${this.#holder} and attempts = ${attempts}`.execute(
        this.#units.database,
      );
    } finally {
      clearInterval(renewal);
    }
  }

  /** A claim that cannot be renewed ends by itself, and then somebody else may do the task, under the same key. */
  async #renew({ id, attempts }: Claimed): Promise<void> {
    try {
      await sql`
        update warren.tasks set due_at = clock_timestamp() + make_interval(secs => ${LEASE / 1_000})
        where id = ${id} and lease = ${this.#holder} and attempts = ${attempts}`.execute(
        this.#units.database,
      );
    } catch (error) {
      this.#log.debug({ err: error }, 'a claim could not be renewed');
    }
  }

  /** Until there may be work; not at all when there has been a wake-up since the last look, at `wakes`. */
  #idle(wakes: number): Promise<void> {
    if (this.#stopping.signal.aborted || this.#wakes !== wakes) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, POLL);
      this.#resume = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

const rejectOn = (signal: AbortSignal) =>
  new Promise<never>((_, reject) =>
    signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
  );

class LeaseLost extends Error {
  override readonly name = 'LeaseLost';
}

/** Tasks of these kinds that should be done by now: due, or put off because they failed. */
export async function tasksPending(
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
