// The payment service of the same work: on `order.created` INSERT and `payment.processed`. With outbox and inbox.
import { defineBroker, defineService, newId, port, RETRY_DELAYS, run } from '@warren/chassis';
import { type Currency, orderCreated, paymentProcessed, toMinorUnits } from '@warren/contracts';
import { moreEvents } from '../../more-events.ts';

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

const standard = { prefetch: 200, redeliveries: { limit: 10 }, retry: RETRY_DELAYS };
const otherQueues = Object.fromEntries(
  moreEvents.map((event) => [
    `payment.${event.type}`,
    { event, ...standard, deadLetters: `payment.${event.type}.dlq` as const },
  ]),
);
const broker = defineBroker('payment', {
  vhosts: {
    publish: { publications: { 'payment.processed.v1': paymentProcessed } },
    consume: {
      subscriptions: {
        ...otherQueues,
        'payment.order.created': {
          event: orderCreated,
          ...standard,
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
      ...Object.fromEntries(moreEvents.map(({ type }) => [`payment.${type}`, async () => {}])),
      'payment.order.created': async ({ data }, work) => {
        const { orderId, userId, price: amount, currency } = data;
        const id = newId();
        await work.transaction
          .insertInto('payments')
          .values({
            id,
            order_id: orderId,
            user_id: userId,
            amount: toMinorUnits(amount),
            currency,
            status: 'processed',
          })
          .execute();
        await work.emit(
          paymentProcessed,
          { paymentId: id, orderId, userId, amount, currency },
          { aggregate: orderId },
        );
      },
    },
  }),
);
