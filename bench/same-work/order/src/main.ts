// The order service of the same work: INSERT and `order.created`; on `payment.processed` UPDATE to paid. With outbox and inbox.
import {
  created,
  defineBroker,
  defineService,
  Joi,
  newId,
  port,
  post,
  RETRY_DELAYS,
  run,
} from '@warren/chassis';
import {
  type Currency,
  currency,
  fromMinorUnits,
  money,
  orderCreated,
  paymentProcessed,
  toMinorUnits,
} from '@warren/contracts';
import { moreEvents } from '../../more-events.ts';

interface Config {
  PORT: number;
  ADMIN_PORT: number;
}

interface Schema {
  orders: {
    id: string;
    user_id: string;
    product_name: string;
    /** Minor units */
    price: number;
    currency: Currency;
    status: 'pending' | 'paid';
  };
}

const newOrder = Joi.object<{ userId: string; productName: string; price: number; currency: Currency }>({
  userId: Joi.string().guid({ separator: '-', wrapper: false }).required(),
  productName: Joi.string().max(200).required(),
  price: money().required(),
  currency: currency().default('EUR'),
});

const placeOrder = post<'/orders', unknown, unknown, typeof newOrder, Schema, Config>(
  '/orders',
  { access: 'public', summary: 'Place an order', body: newOrder, shared: () => newId() },
  async ({ body }, work) => {
    const { userId, productName, price, currency } = body;
    const id = newId();
    const values = { user_id: userId, product_name: productName, price: toMinorUnits(price), currency };
    const row = { id, ...values, status: 'pending' as const };
    await work.transaction.insertInto('orders').values(row).execute();
    const order = { orderId: id, userId, productName, price: fromMinorUnits(row.price), currency };
    await work.emit(orderCreated, order, { aggregate: id });
    return created(`/orders/${id}`, { ...order, status: row.status });
  },
);

const broker = defineBroker('order', {
  vhosts: {
    publish: {
      publications: {
        ...Object.fromEntries(moreEvents.map((event) => [event.routingKey, event])),
        'order.created.v1': orderCreated,
      },
    },
    consume: {
      subscriptions: {
        'order.payment.processed': {
          event: paymentProcessed,
          prefetch: 200,
          redeliveries: { limit: 10 },
          retry: RETRY_DELAYS,
          deadLetters: 'order.payment.processed.dlq',
        },
      },
    },
  },
});

await run(
  defineService<Config, Schema, typeof broker>({
    name: 'order',
    version: '0.1.0',
    config: { PORT: port(), ADMIN_PORT: port() },
    migrations: new URL('../migrations/', import.meta.url),
    broker,
    routes: [placeOrder],
    handlers: {
      'order.payment.processed': async ({ data }, work) => {
        await work.transaction
          .updateTable('orders')
          .set({ status: 'paid' })
          .where('id', '=', data.orderId)
          .execute();
      },
    },
  }),
);
