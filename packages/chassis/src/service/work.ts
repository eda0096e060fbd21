// Units of work of requests, events and tasks, and the workers. A commit wakes the relay and the workers of its tasks.
import type { UnitsOfWork } from '../context.ts';
import type { Availability } from '../database/availability.ts';
import type { Database } from '../database/database.ts';
import { sendOn } from '../database/dialect.ts';
import type { Messaging } from '../messaging/connection.ts';
import type { Relay } from '../outbox/relay.ts';
import { WorkerRunner } from '../tasks/runner.ts';
import { createUnitsOfWork } from '../units-of-work.ts';
import type { Databases } from './databases.ts';
import type { Setup } from './setup.ts';

export interface Work {
  requests: UnitsOfWork;
  background: UnitsOfWork;
  /** One for each kind of task. */
  runners: readonly WorkerRunner[];
}

export function createWork(
  { definition, config, log, counters, now }: Setup,
  { requests, background, availability }: Databases,
  messaging: {
    connection: Messaging | undefined;
    relay: Relay | undefined;
    /** Routing keys of the events that this service publishes. */
    published: ReadonlySet<string>;
  },
): Work {
  const { connection, relay, published } = messaging;
  const runners: WorkerRunner[] = [];
  const unitsOn = (database: Database<unknown>) =>
    createUnitsOfWork({
      service: definition.name,
      database,
      config,
      now,
      publications: published,
      brokerSince: () => uninterruptedSince(connection, availability),
      counters,
      onCommit({ events, kinds }) {
        if (events) relay?.wake();
        for (const runner of runners) if (kinds.has(runner.kind)) runner.wake();
      },
    });
  const units = { requests: unitsOn(requests), background: unitsOn(background) };
  for (const worker of definition.workers ?? [])
    runners.push(
      new WorkerRunner(worker, {
        units: units.background,
        send: sendOn(background.kysely),
        config,
        log,
        availability,
      }),
    );
  return { ...units, runners };
}

/** Since when events are consumed without interruption: while the database is unavailable, none are. */
function uninterruptedSince(
  connection: Messaging | undefined,
  { problem, since: available }: Availability,
): Date | undefined {
  const connected = connection?.connectedSince;
  if (connected === undefined || problem !== undefined) return undefined;
  return available !== undefined && available > connected ? available : connected;
}
