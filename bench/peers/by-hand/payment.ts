// amqplib and pg by hand: the payment service. Practice: see order.ts.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { connect } from 'amqplib';
import pg from 'pg';

const { PORT, AMQP_URL = '', DATABASE_URL } = process.env;
const PREFETCH = 200;

const pool = new pg.Pool({ connectionString: DATABASE_URL });
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

/** Resolves when the broker has confirmed. */
const publish = (key: string, data: object): Promise<void> =>
  new Promise((resolve, reject) => {
    const options = { persistent: true, contentType: 'application/json', messageId: randomUUID() };
    publisher.publish('shop', key, Buffer.from(JSON.stringify(data)), options, (error) =>
      error ? reject(error) : resolve(),
    );
  });

await consumer.consume('payment.order.created', async (message) => {
  if (message === null) return;
  try {
    const { orderId, userId, price: amount, currency } = JSON.parse(message.content.toString());
    const paymentId = randomUUID();
    await pool.query(
      "insert into payments (id, order_id, user_id, amount, currency, status) values ($1, $2, $3, $4, $5, 'processed')",
      [paymentId, orderId, userId, Math.round(amount * 100), currency],
    );
    await publish('payment.processed', { paymentId, orderId, userId, amount, currency });
    consumer.ack(message);
  } catch (error) {
    console.error(error);
    consumer.nack(message);
  }
});

const server = createServer((_request, response) => response.writeHead(404).end());
server.listen(Number(PORT), '127.0.0.1');

process.once('SIGTERM', async () => {
  server.close();
  await Promise.all([toConsume.close(), toPublish.close(), pool.end()]);
  process.exit();
});
