// What the tests of an application need of its outbox and its consumers.
import type { CloudEvent } from '@warren/events';
import pg from 'pg';
import { pause } from '../concurrency.ts';
import { connectClient } from '../database/connect.ts';
import type { Query } from './adapter.ts';
import { createRelay, type RelayOptions } from './relay.ts';
import { explained } from './sql-errors.ts';

export { type DeliverOptions, deliver } from './deliver.ts';

/**
 * The events in the outbox, in the order in which they were emitted. Inside a transaction, with those that it has emitted.
 * @param query `adapter.query(handle)`, or a function that runs one query on any connection
 * @throws {WarrenError} `schema_missing`, when the migrations were not applied
 * @example expect((await pendingEvents(query)).map(({ type }) => type)).to.deep.equal(['thing.saved']);
 */
export async function pendingEvents(query: Query): Promise<CloudEvent[]> {
  try {
    const rows = await query('select body from warren.outbox order by id', []);
    return rows.map(({ body }) => JSON.parse(String(body)) as CloudEvent);
  } catch (error) {
    throw explained(error);
  }
}

/** ms between two counts of what is left. */
const COUNT_INTERVAL_MS = 20;

/**
 * Publishes what is in the outbox with a relay of its own, and resolves when the broker has confirmed all of it.
 * @param options.timeout ms. @defaultValue 10000
 * @throws {Error} when events are left after `timeout`, with the reason
 */
export async function publishPending({
  timeout = 10_000,
  ...options
}: RelayOptions & { timeout?: number }): Promise<void> {
  const relay = createRelay(options);
  const client = new pg.Client({ connectionString: options.databaseUrl });
  client.on('error', () => {});
  await connectClient(client);
  relay.start();
  try {
    const deadline = performance.now() + timeout;
    for (let left = await countLeft(client); left > 0; left = await countLeft(client)) {
      if (performance.now() > deadline)
        throw new Error(
          `${left} events are left in the outbox after ${timeout} ms: ${relay.problem ?? 'see parked_reason and held_at in warren.outbox'}`,
        );
      await pause(COUNT_INTERVAL_MS);
    }
  } finally {
    await relay.stop();
    await client.end();
  }
}

async function countLeft(client: pg.Client): Promise<number> {
  const { rows } = await client.query('select count(*)::int as left from warren.outbox');
  return rows[0].left;
}
