// node:http, amqplib and pg by hand: the order service. No outbox, no inbox: a crash between INSERT and publish loses the event.
//
// Practice: see ../amqp.ts, and the page on pooling of node-postgres (https://node-postgres.com/features/pooling).
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { openBroker } from '../amqp.ts';
import { type NewOrder, serve } from '../http.ts';

const { PORT, AMQP_URL = '', DATABASE_URL } = process.env;

const pool = new pg.Pool({ connectionString: DATABASE_URL });
const broker = await openBroker(AMQP_URL, 'order.payment.processed', 'payment.processed');

await broker.consume<{ orderId: string }>(async ({ orderId }) => {
  await pool.query("update orders set status = 'paid' where id = $1", [orderId]);
});

async function placeOrder({ userId, productName, price, currency = 'EUR' }: NewOrder): Promise<object> {
  const orderId = randomUUID();
  await pool.query(
    "insert into orders (id, user_id, product_name, price, currency, status) values ($1, $2, $3, $4, $5, 'pending')",
    [orderId, userId, productName, Math.round(price * 100), currency],
  );
  const order = { orderId, userId, productName, price, currency };
  await broker.publish('order.created', order);
  return { ...order, status: 'pending' };
}

const server = serve(PORT, placeOrder);

process.once('SIGTERM', async () => {
  server.close();
  await Promise.all([broker.close(), pool.end()]);
  process.exit();
});
