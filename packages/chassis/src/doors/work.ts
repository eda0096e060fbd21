// What handlers of events and tasks get in an application that is no Warren service, and the transactions that they run in.
import type { AnyEvent, EventDefinition } from '@warren/events';
import type { Log, ScheduledTask, UnitsOfWork } from '../context.ts';
import type { Send } from '../database/statements.ts';
import { sendOn, transact } from './abortable-transaction.ts';
import type { Adapter } from './adapter.ts';
import { createPoolUnits } from './pool-units.ts';
import { poolOf } from './pools.ts';
import { createAdapterUnits } from './units.ts';

/**
 * One transaction, and the operations in it.
 * @typeParam Handle what the ORM calls its open transaction
 */
export interface Work<Handle> {
  /** Committed after the handler, with those of its batch: it runs neither COMMIT nor ROLLBACK, and nothing after its end. */
  readonly transaction: Handle;
  /**
   * Emits an event: it is written before the commit, and published after it, in commit order per aggregate. Lock or write the
   * aggregate's row before.
   * @returns the event's id
   * @throws {WarrenError} `event_refused`, when it is not among the publications, or over 1 MiB
   * @throws {ContractError} when the data does not match the event's schema
   */
  emit<Data extends object>(
    event: EventDefinition<Data>,
    data: Data,
    options: { aggregate: string },
  ): Promise<string>;
  /** Schedules a task before the commit; a worker does it after the commit. */
  schedule(kind: string, task: ScheduledTask): Promise<void>;
  /**
   * Deletes a task, unless a worker has begun it.
   * @returns whether it was deleted
   */
  unschedule(kind: string, key: string): Promise<boolean>;
  readonly log: Log;
  readonly correlationId: string;
  /** Aborts when the time of the handler is over, or the database becomes unavailable. Pass it to what may take long. */
  readonly signal?: AbortSignal;
}

/** What follows the transactions of a handler. */
export interface Followers {
  /** The events that it may emit. */
  publications?: readonly AnyEvent[];
  /** Woken after a commit with events. A relay in another process finds them by its poll. */
  relay?: { wake(): void };
  /** Woken after a commit with tasks of their kind. A worker in another process finds them by its poll. */
  workers?: readonly { readonly kind: string; wake(): void }[];
}

/** Batches of handlers: pipelined on the pool of a pg adapter, one after the other on any other. */
export function unitsOn<Handle>(
  adapter: Adapter<Handle>,
  { service, log, publications = [], relay, workers = [] }: Followers & { service: string; log: Log },
): Pick<UnitsOfWork, 'batch'> {
  const options = {
    service,
    publications: new Set(publications.map(({ routingKey }) => routingKey)),
    log,
    now: () => new Date(),
    onCommit: ({ events, kinds }: { events: boolean; kinds: ReadonlySet<string> }) => {
      if (events) relay?.wake();
      for (const worker of workers) if (kinds.has(worker.kind)) worker.wake();
    },
  };
  const pool = poolOf(adapter);
  return pool === undefined
    ? createAdapterUnits({ ...options, adapter })
    : createPoolUnits({ ...options, pool });
}

/** Runs each statement in a transaction of its own. */
export const statementsOn =
  <Handle>(adapter: Adapter<Handle>): Send =>
  async (statement) => {
    let result: Awaited<ReturnType<Send>> = { rows: [] };
    await transact(
      adapter,
      async ({ query }) => {
        result = await sendOn(query)(statement);
      },
      undefined,
    );
    return result;
  };
