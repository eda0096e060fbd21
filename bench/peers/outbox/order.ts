// node:http, amqplib and pg, with the transactional outbox of pg-transactional-outbox, polled: the order service. It loses no
// event. It has no inbox: an event that is delivered twice has its effect twice. Practice: see outbox.ts and ../amqp.ts.
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { openBroker } from '../amqp.ts';
import { type NewOrder, serve } from '../http.ts';
import { openOutbox } from './outbox.ts';

const { PORT, AMQP_URL = '', DATABASE_URL = '' } = process.env;

const pool = new pg.Pool({ connectionString: DATABASE_URL });
const broker = await openBroker(AMQP_URL, 'order.payment.processed', 'payment.processed');
const outbox = await openOutbox(DATABASE_URL, pool, broker);

await broker.consume<{ orderId: string }>(async ({ orderId }) => {
  await pool.query("update orders set status = 'paid' where id = $1", [orderId]);
});

async function placeOrder({ userId, productName, price, currency = 'EUR' }: NewOrder): Promise<object> {
  const orderId = randomUUID();
  const order = { orderId, userId, productName, price, currency };
  await outbox.transact(
    { type: 'order.created', aggregateType: 'order', aggregateId: orderId, data: order },
    (client) =>
      client.query(
        "insert into orders (id, user_id, product_name, price, currency, status) values ($1, $2, $3, $4, $5, 'pending')",
        [orderId, userId, productName, Math.round(price * 100), currency],
      ),
  );
  return { ...order, status: 'pending' };
}

const server = serve(PORT, placeOrder);

process.once('SIGTERM', async () => {
  server.close();
  await outbox.close();
  await Promise.all([broker.close(), pool.end()]);
  process.exit();
});
