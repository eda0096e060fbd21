// node:http, amqplib and pg, with the transactional outbox of pg-transactional-outbox, polled: the order service. It loses no
// event. There is no inbox: an event that is delivered twice has its effect twice.
//
// Practice: the README of pg-transactional-outbox (https://github.com/Zehelein/pg-transactional-outbox): `initializeMessageStorage` in
// the transaction of the effect, `initializePollingMessageListener` with a general handler that publishes, messages deleted early.
// Its example polls 5 messages every 250 ms; here it is 50 every 50 ms, and messages are `parallel`, which suits it better.
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
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
await consumer.assertQueue('order.payment.processed', {
  durable: true,
  arguments: { 'x-queue-type': 'quorum' },
});
await consumer.bindQueue('order.payment.processed', 'shop', 'payment.processed');
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

await consumer.consume('order.payment.processed', async (message) => {
  if (message === null) return;
  try {
    const { orderId } = JSON.parse(message.content.toString());
    await pool.query("update orders set status = 'paid' where id = $1", [orderId]);
    consumer.ack(message);
  } catch (error) {
    console.error(error);
    consumer.nack(message);
  }
});

const readJson = async (request: IncomingMessage) => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString());
};

async function placeOrder(request: IncomingMessage): Promise<object> {
  const { userId, productName, price, currency = 'EUR' } = await readJson(request);
  const orderId = randomUUID();
  const order = { orderId, userId, productName, price, currency };
  const client = await pool.connect();
  try {
    await client.query('begin');
    await client.query(
      "insert into orders (id, user_id, product_name, price, currency, status) values ($1, $2, $3, $4, $5, 'pending')",
      [orderId, userId, productName, Math.round(price * 100), currency],
    );
    await storeMessage(
      {
        id: randomUUID(),
        aggregateType: 'order',
        aggregateId: orderId,
        messageType: 'order.created',
        concurrency: 'parallel',
        payload: order,
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
  return { ...order, status: 'pending' };
}

const server = createServer((request, response) => {
  if (request.method !== 'POST' || request.url !== '/orders') {
    response.writeHead(404).end();
    return;
  }
  placeOrder(request).then(
    (order) => response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify(order)),
    (error) => {
      console.error(error);
      response.writeHead(500).end();
    },
  );
});
server.listen(Number(PORT), '127.0.0.1');

process.once('SIGTERM', async () => {
  server.close();
  await stopListener();
  await Promise.all([toConsume.close(), toPublish.close(), pool.end()]);
  process.exit();
});
