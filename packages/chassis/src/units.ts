// Units of work: one transaction, with the outbox and the tasks in it.
import type { Origin, Units, Work } from './context.ts';
import type { Database } from './database/database.ts';
import { append } from './outbox/outbox.ts';
import { scheduleTask, unscheduleTask } from './tasks/worker.ts';
import type { Counters } from './telemetry/counters.ts';

export interface UnitsOptions<Schema, Config> {
  service: string;
  database: Database<Schema>;
  config: Config;
  now: () => Date;
  /** Routing keys that broker.ts declares. */
  publications: ReadonlySet<string>;
  /** See `Work`. */
  brokerSince?: () => Date | undefined;
  /** See `Work.count`. */
  counters?: Counters;
  /** After a commit that left work for the relay, or for workers of these kinds. */
  onCommit: (left: { events: boolean; kinds: ReadonlySet<string> }) => void;
}

/** Attempts of a transaction that lost against another one: https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html */
const ATTEMPTS = 3;
const LOST_RACE = new Set(['40001', '40P01']);

export function createUnits<Schema, Config>(options: UnitsOptions<Schema, Config>): Units<Schema, Config> {
  const { service, database, config, now, publications, onCommit, brokerSince = () => undefined } = options;
  const { counters = () => () => {} } = options;
  const source = `/${service}`;

  async function attempt<T>(origin: Origin, run: (work: Work<Schema, Config>) => Promise<T>): Promise<T> {
    const kinds = new Set<string>();
    const counts: (() => void)[] = [];
    let events = false;
    const result = await database.transaction(
      (transaction) =>
        run({
          transaction,
          config,
          log: origin.log,
          now,
          correlationId: origin.correlationId,
          ...(origin.signal !== undefined && { signal: origin.signal }),
          emit: (event, data, { aggregate }) => {
            events = true;
            return append(transaction, event, data, {
              ...origin,
              source,
              aggregate,
              time: now(),
              publications,
            });
          },
          schedule: (kind, task) => {
            if (task.at === undefined || task.at <= now()) kinds.add(kind);
            return scheduleTask(transaction, kind, task, origin);
          },
          unschedule: (kind, key) => unscheduleTask(transaction, kind, key),
          count: (counter, labels) => void counts.push(counters(counter, labels)),
          brokerSince: brokerSince(),
        }),
      origin.signal,
    );
    for (const each of counts) each();
    if (events || kinds.size > 0) onCommit({ events, kinds });
    return result;
  }

  return {
    database: database.kysely,
    async work(origin, run) {
      for (let number = 1; ; number += 1) {
        try {
          return await attempt(origin, run);
        } catch (error) {
          const code = String((error as { code?: unknown } | undefined)?.code);
          if (number === ATTEMPTS || !LOST_RACE.has(code) || origin.signal?.aborted) throw error;
        }
      }
    },
  };
}
