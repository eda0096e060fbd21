// As ../saver, without a service: the consumer of @warren/chassis/inbox on a pool of pg. To the broker it is the payment service.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { pgAdapter } from '@warren/chassis/adapters/pg';
import { createConsumer } from '@warren/chassis/inbox';
import { createMessaging } from '@warren/chassis/messaging';
import { migrate } from '@warren/chassis/migrations';
import { orderCreated, toMinorUnits } from '@warren/contracts';
import pg from 'pg';
import { pino } from 'pino';

const { DATABASE_URL = '', AMQP_URL = '', PORT, ADMIN_PORT } = process.env;
await migrate(DATABASE_URL);
const pool = new pg.Pool({ connectionString: DATABASE_URL });
const { rows } = await pool.query(`select to_regclass('payments') is not null as exists`);
if (!rows[0].exists)
  await pool.query(await readFile(new URL('../migrations/001_payments.sql', import.meta.url), 'utf8'));

// A line an event, as a service logs.
const messaging = createMessaging({ service: 'payment', brokerUrl: AMQP_URL, hooks: { log: pino() } });
const consumer = createConsumer({
  messaging,
  adapter: pgAdapter(pool),
  event: orderCreated,
  handler: async ({ data }, { transaction }) => {
    const { orderId, userId, price, currency } = data;
    await transaction.query(
      `insert into payments (id, order_id, user_id, amount, currency, status)
       values (gen_random_uuid(), $1, $2, $3, $4, 'processed')`,
      [orderId, userId, toMinorUnits(price), currency],
    );
  },
});
consumer.start();

const servers = [PORT, ADMIN_PORT].map((port) =>
  createServer((_, response) => {
    response.statusCode = messaging.state === 'connected' ? 200 : 503;
    response.end();
  }).listen(Number(port), '127.0.0.1'),
);
process.once('SIGTERM', async () => {
  await messaging.stop();
  await pool.end();
  for (const server of servers) server.close();
});
