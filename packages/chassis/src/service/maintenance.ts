import { pause } from '../concurrency.ts';
import { sendOn } from '../database/dialect.ts';
import { isDatabaseUnavailable } from '../database/outage.ts';
import { pruneIdempotencyKeys } from '../http/idempotency.ts';
import { pruneInbox } from '../inbox/inbox.ts';
import { outboxHeld, outboxStats } from '../outbox/stats.ts';
import { countPendingTasks } from '../tasks/pending.ts';
import type { Databases } from './databases.ts';
import type { Setup } from './setup.ts';

const STATISTICS_INTERVAL_MS = 5_000;
/** A database that does not respond would delay the statistics until TCP gives up. */
const STATISTICS_TIMEOUT_MS = 5_000;
const PRUNE_INTERVAL_MS = 600_000;
/** The inbox keeps ids for longer than events are accepted, in case the clocks of producers differ. */
const CLOCK_SKEW_MARGIN_MS = 86_400_000;

/** Sets the gauges of the database and prunes its tables, until the signal aborts. */
export async function runMaintenance(
  setup: Setup,
  databases: Databases,
  /** Routing keys of the outbox; absent in a service that publishes nothing. */
  published: ReadonlySet<string> | undefined,
  signal: AbortSignal,
): Promise<void> {
  let prunedAt = 0;
  while (!signal.aborted) {
    try {
      databases.reportPools();
      await reportTables(setup, databases, published);
      if (Date.now() - prunedAt > PRUNE_INTERVAL_MS) {
        await prune(setup, databases);
        prunedAt = Date.now();
      }
    } catch (error) {
      // At a shutdown the connections are closed while it uses them.
      if (signal.aborted) return;
      if (isDatabaseUnavailable(error) || (error as Error)?.name === 'TimeoutError')
        await databases.availability.check(error);
      else setup.log.warn({ err: error }, 'maintenance failed');
    }
    await pause(STATISTICS_INTERVAL_MS, signal);
  }
}

/** Sets the gauges of the outbox and of the tasks. */
async function reportTables(
  { definition: { workers = [] }, metrics }: Setup,
  { background }: Databases,
  published: ReadonlySet<string> | undefined,
): Promise<void> {
  const kinds = workers.map(({ kind }) => kind);
  const [outbox, tasks, held] = await background.transaction(
    async (transaction) => [
      published && (await outboxStats(transaction)),
      await countPendingTasks(transaction, kinds),
      published ? await outboxHeld(transaction) : [],
    ],
    AbortSignal.timeout(STATISTICS_TIMEOUT_MS),
  );
  if (outbox !== undefined) {
    metrics.outboxPending.set(outbox.pending);
    metrics.outboxOldestAge.set(outbox.oldestAge);
    metrics.outboxParked.set(outbox.parked);
  }
  for (const key of published ?? []) metrics.outboxHeld.set({ key }, 0);
  for (const { key, held: events } of held) metrics.outboxHeld.set({ key }, events);
  for (const { kind, pending } of tasks) metrics.tasksPending.set({ kind }, pending);
}

async function prune({ config }: Setup, { background: { kysely } }: Databases): Promise<void> {
  await pruneInbox(sendOn(kysely), config.INBOX_RETENTION + CLOCK_SKEW_MARGIN_MS);
  await pruneIdempotencyKeys(kysely, config.IDEMPOTENCY_RETENTION);
}
