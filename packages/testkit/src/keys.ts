// Keys of handlers. What arrives together shares a transaction, in which handlers of different keys run at once and no lock
// protects them from each other: so a handler may lock nothing that an event of another key locks.
import assert from 'node:assert/strict';
import type { CloudEvent } from '@warren/events';
import { eventually } from './eventually.ts';
import type { TestMessage } from './message.ts';
import { type Held, holdCommits } from './postgres/hold.ts';
import type { TestDatabase } from './postgres/with-database.ts';
import type { TestBroker } from './rabbitmq/with-broker.ts';

export interface WithKeysOptions {
  /** Its description: handlers by the names of their queues, each a function, or an object with its `key`. */
  service: { name: string; handlers?: Readonly<Record<string, unknown>> };
  broker: Pick<TestBroker, 'publish'>;
  database: Pick<TestDatabase, 'admin' | 'adminUrl'>;
}

type Pair = () => readonly [TestMessage, TestMessage] | Promise<readonly [TestMessage, TestMessage]>;

/**
 * Tests of a service's keys. Of a pair of events the first is handled, and its transaction held before its COMMIT; then the
 * second is delivered, and either it is handled meanwhile, or its transaction waits for a lock of the first.
 *
 * @example
 * const keys = withKeys({ service, broker, database });
 * keys.itKeepsApart('payments of two orders of one user', async () => [processed(one), processed(other)]);
 * keys.itOrders('two payments of one order', async () => [processed(one), processed(one)]);
 */
export function withKeys({ service, broker, database }: WithKeysOptions) {
  let installed: ReturnType<typeof holdCommits> | undefined;

  /** As the chassis finds it. */
  const keyOf = ({ event }: TestMessage): string | undefined => {
    const queue = `${service.name}.${event.type}`;
    const handler = service.handlers?.[queue] as { key?: (event: CloudEvent<object>) => string } | undefined;
    assert(handler, `no handler consumes ${queue}`);
    return handler.key?.(event) ?? event.subject;
  };
  const publish = ({ published }: TestMessage) => broker.publish(...published);
  const isHandled = async ({ event }: TestMessage) =>
    (await database.admin('select 1 from warren.inbox where message_id = $1', [event.id])).length > 0;

  /** Whether the second event's transaction waits for the first one's. */
  async function waits(first: TestMessage, second: TestMessage): Promise<boolean> {
    // Not earlier: the service makes the table when it starts.
    installed ??= holdCommits(database.adminUrl, { table: 'warren.inbox', column: 'message_id' });
    const held = await (await installed)(first.event.id);
    try {
      await publish(first);
      await eventually(held.isReached, { interval: 10 });
      await publish(second);
      return await outcome(held, second);
    } finally {
      await held.release();
      for (const message of [first, second]) await eventually(() => isHandled(message), { interval: 10 });
    }
  }

  const outcome = async (held: Held, second: TestMessage): Promise<boolean> => {
    const found = await eventually(
      async () => {
        if (await held.isWaitedFor()) return { waits: true };
        return (await isHandled(second)) && { waits: false };
      },
      { interval: 10 },
    );
    return found.waits;
  };

  return {
    waits,

    /** Their keys differ, and neither waits for the other. */
    itKeepsApart(what: string, pair: Pair): void {
      it(`${what} do not wait for each other`, async () => {
        const [first, second] = await pair();
        assert.notEqual(keyOf(first), keyOf(second), 'they have one key');
        assert.equal(await waits(first, second), false, 'a handler locks outside its key');
      });
    },

    /** They have one key, and the second waits for the first. */
    itOrders(what: string, pair: Pair): void {
      it(`${what} wait for each other`, async () => {
        const [first, second] = await pair();
        assert.equal(await waits(first, second), true, 'they lock nothing in common');
        assert.equal(keyOf(first), keyOf(second), 'their handlers lock one thing under different keys');
      });
    },
  };
}
