// node:http, amqplib and pg by hand: the order service. No outbox, no inbox: a crash between INSERT and publish loses the event.
//
// Practice: RabbitMQ's guides on publisher confirms, consumer acknowledgements and connections (one to publish, one to consume;
// https://www.rabbitmq.com/docs/connections), amqplib's channel guide (https://amqp-node.github.io/amqplib/), and the page on
// pooling of node-postgres (https://node-postgres.com/features/pooling).
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import { connect } from 'amqplib';
import pg from 'pg';

const { PORT, AMQP_URL = '', DATABASE_URL } = process.env;
/** Messages in flight to a consumer; RabbitMQ's guide names 100 to 300 as a good range. */
const PREFETCH = 200;

const pool = new pg.Pool({ connectionString: DATABASE_URL });
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

/** Resolves when the broker has confirmed. */
const publish = (key: string, data: object): Promise<void> =>
  new Promise((resolve, reject) => {
    const options = { persistent: true, contentType: 'application/json', messageId: randomUUID() };
    publisher.publish('shop', key, Buffer.from(JSON.stringify(data)), options, (error) =>
      error ? reject(error) : resolve(),
    );
  });

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
  await pool.query(
    "insert into orders (id, user_id, product_name, price, currency, status) values ($1, $2, $3, $4, $5, 'pending')",
    [orderId, userId, productName, Math.round(price * 100), currency],
  );
  const order = { orderId, userId, productName, price, currency };
  await publish('order.created', order);
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
  await Promise.all([toConsume.close(), toPublish.close(), pool.end()]);
  process.exit();
});
