// The transactional outbox of pg-transactional-outbox, polled.
//
// Practice: its README (https://github.com/Zehelein/pg-transactional-outbox): `initializeMessageStorage` in the transaction of the
// effect, `initializePollingMessageListener` with a general handler that publishes, messages deleted early. Its example polls 5
// messages every 250 ms; here it is 50 every 50 ms, and messages are `parallel`, which suits it better.
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import {
  DatabaseSetup,
  getDisabledLogger,
  initializeMessageStorage,
  initializePollingMessageListener,
  type PollingListenerConfig,
} from 'pg-transactional-outbox';
import type { Broker } from '../amqp.ts';

export interface Outbox {
  /** Runs `effect` in a transaction that also stores the event of the aggregate with this id. */
  transact(
    event: { type: string; aggregateType: string; aggregateId: string; data: object },
    effect: (client: pg.PoolClient) => Promise<unknown>,
  ): Promise<void>;
  close(): Promise<void>;
}

/** Makes the table, and publishes what is stored in it. */
export async function openOutbox(databaseUrl: string, pool: pg.Pool, broker: Broker): Promise<Outbox> {
  const { username, pathname } = new URL(databaseUrl);
  const setup = {
    outboxOrInbox: 'outbox',
    database: pathname.slice(1),
    schema: 'public',
    table: 'outbox',
    listenerRole: username,
    nextMessagesName: 'next_outbox_messages',
  } as const;
  await pool.query(DatabaseSetup.dropAndCreateTable(setup));
  await pool.query(DatabaseSetup.createPollingFunction(setup));
  await pool.query(DatabaseSetup.setupPollingIndexes(setup));

  const config: PollingListenerConfig = {
    outboxOrInbox: 'outbox',
    dbListenerConfig: { connectionString: databaseUrl },
    settings: {
      dbSchema: 'public',
      dbTable: 'outbox',
      nextMessagesFunctionName: 'next_outbox_messages',
      nextMessagesBatchSize: 50,
      nextMessagesPollingIntervalInMs: 50,
      // A poll may take the lock that a message's own transaction wants; that message then waits for this long. Default: 5,000.
      nextMessagesLockInMs: 1_000,
      enableMaxAttemptsProtection: false,
      enablePoisonousMessageProtection: false,
      messageCleanupIntervalInMs: 5_000,
      messageCleanupProcessedInSec: 5,
    },
  };
  const store = initializeMessageStorage(config, getDisabledLogger());
  const [close] = initializePollingMessageListener(
    config,
    { handle: ({ id, messageType, payload }) => broker.publish(messageType, payload, id) },
    getDisabledLogger(),
  );

  return {
    async transact({ type: messageType, aggregateType, aggregateId, data: payload }, effect) {
      const client = await pool.connect();
      try {
        await client.query('begin');
        await effect(client);
        const message = { id: randomUUID(), aggregateType, aggregateId, messageType, payload };
        await store({ ...message, concurrency: 'parallel' }, client);
        await client.query('commit');
      } catch (error) {
        await client.query('rollback');
        throw error;
      } finally {
        client.release();
      }
    },
    close,
  };
}
