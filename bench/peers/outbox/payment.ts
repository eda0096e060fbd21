// amqplib and pg with the outbox of pg-transactional-outbox, polled: the payment service. Practice: see order.ts.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { connect } from 'amqplib';
import pg from 'pg';
import {
  DatabaseSetup,
  getDisabledLogger,
  initializeMessageStorage,
  initializePollingMessageListener,
  type PollingListenerConfig,
} from 'pg-transactional-outbox';

const { PORT, AMQP_URL = '', DATABASE_URL = '' } = process.env;
const PREFETCH = 200;

const pool = new pg.Pool({ connectionString: DATABASE_URL });
const { username, pathname } = new URL(DATABASE_URL);
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

const [toPublish, toConsume] = await Promise.all([
  connect(AMQP_URL, { noDelay: true }),
  connect(AMQP_URL, { noDelay: true }),
]);
const publisher = await toPublish.createConfirmChannel();
const consumer = await toConsume.createChannel();
await publisher.assertExchange('shop', 'topic', { durable: true });
await consumer.assertQueue('payment.order.created', {
  durable: true,
  arguments: { 'x-queue-type': 'quorum' },
});
await consumer.bindQueue('payment.order.created', 'shop', 'order.created');
await consumer.prefetch(PREFETCH);

const outbox: PollingListenerConfig = {
  outboxOrInbox: 'outbox',
  dbListenerConfig: { connectionString: DATABASE_URL },
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
const storeMessage = initializeMessageStorage(outbox, getDisabledLogger());
const [stopListener] = initializePollingMessageListener(
  outbox,
  {
    // Resolves when the broker has confirmed.
    handle: ({ id, messageType, payload }) =>
      new Promise((resolve, reject) => {
        const options = { persistent: true, contentType: 'application/json', messageId: id };
        publisher.publish('shop', messageType, Buffer.from(JSON.stringify(payload)), options, (error) =>
          error ? reject(error) : resolve(),
        );
      }),
  },
  getDisabledLogger(),
);

await consumer.consume('payment.order.created', async (message) => {
  if (message === null) return;
  try {
    await pay(JSON.parse(message.content.toString()));
    consumer.ack(message);
  } catch (error) {
    console.error(error);
    consumer.nack(message);
  }
});

async function pay(order: {
  orderId: string;
  userId: string;
  price: number;
  currency: string;
}): Promise<void> {
  const { orderId, userId, price: amount, currency } = order;
  const paymentId = randomUUID();
  const client = await pool.connect();
  try {
    await client.query('begin');
    await client.query(
      "insert into payments (id, order_id, user_id, amount, currency, status) values ($1, $2, $3, $4, $5, 'processed')",
      [paymentId, orderId, userId, Math.round(amount * 100), currency],
    );
    await storeMessage(
      {
        id: randomUUID(),
        aggregateType: 'payment',
        aggregateId: paymentId,
        messageType: 'payment.processed',
        concurrency: 'parallel',
        payload: { paymentId, orderId, userId, amount, currency },
      },
      client,
    );
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}

const server = createServer((_request, response) => response.writeHead(404).end());
server.listen(Number(PORT), '127.0.0.1');

process.once('SIGTERM', async () => {
  server.close();
  await stopListener();
  await Promise.all([toConsume.close(), toPublish.close(), pool.end()]);
  process.exit();
});
