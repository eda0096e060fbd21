// amqplib and pg with the outbox of pg-transactional-outbox, polled: the payment service. Practice: see outbox.ts and ../amqp.ts.
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { openBroker } from '../amqp.ts';
import { serve } from '../http.ts';
import { openOutbox } from './outbox.ts';

const { PORT, AMQP_URL = '', DATABASE_URL = '' } = process.env;

interface OrderCreated {
  orderId: string;
  userId: string;
  price: number;
  currency: string;
}

const pool = new pg.Pool({ connectionString: DATABASE_URL });
const broker = await openBroker(AMQP_URL, 'payment.order.created', 'order.created');
const outbox = await openOutbox(DATABASE_URL, pool, broker);

await broker.consume<OrderCreated>(async ({ orderId, userId, price: amount, currency }) => {
  const paymentId = randomUUID();
  const payment = { paymentId, orderId, userId, amount, currency };
  await outbox.transact(
    { type: 'payment.processed', aggregateType: 'payment', aggregateId: paymentId, data: payment },
    (client) =>
      client.query(
        "insert into payments (id, order_id, user_id, amount, currency, status) values ($1, $2, $3, $4, $5, 'processed')",
        [paymentId, orderId, userId, Math.round(amount * 100), currency],
      ),
  );
});

const server = serve(PORT);

process.once('SIGTERM', async () => {
  server.close();
  await outbox.close();
  await Promise.all([broker.close(), pool.end()]);
  process.exit();
});
