// A consumer on the chassis that saves one row a message, with an inbox. To the broker it is the payment service.
import { defineBroker, defineService, newId, port, RETRY_DELAYS, run } from '@warren/chassis';
import { type Currency, orderCreated, toMinorUnits } from '@warren/contracts';

interface Config {
  PORT: number;
  ADMIN_PORT: number;
}

interface Schema {
  payments: {
    id: string;
    order_id: string;
    user_id: string;
    /** Minor units */
    amount: number;
    currency: Currency;
    status: 'processed';
  };
}

const broker = defineBroker('payment', {
  vhosts: {
    publish: {},
    consume: {
      subscriptions: {
        'payment.order.created': {
          event: orderCreated,
          prefetch: 200,
          redeliveries: { limit: 10 },
          retry: RETRY_DELAYS,
          deadLetters: 'payment.order.created.dlq',
        },
      },
    },
  },
});

await run(
  defineService<Config, Schema, typeof broker>({
    name: 'payment',
    version: '0.1.0',
    config: { PORT: port(), ADMIN_PORT: port() },
    migrations: new URL('../migrations/', import.meta.url),
    broker,
    handlers: {
      'payment.order.created': async ({ data }, work) => {
        const { orderId, userId, price, currency } = data;
        await work.transaction
          .insertInto('payments')
          .values({
            id: newId(),
            order_id: orderId,
            user_id: userId,
            amount: toMinorUnits(price),
            currency,
            status: 'processed',
          })
          .execute();
      },
    },
  }),
);
