// The order service of the same work: INSERT and `order.created`; on `payment.processed` UPDATE to paid. With outbox and inbox.
import {
  type BrokerConfig,
  type BrokerSettings,
  consumes,
  created,
  defineService,
  Joi,
  newId,
  on,
  port,
  post,
  publications,
  run,
  sharedExchanges,
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

await run(
  defineService<Config, Schema>({
    name: 'order',
    version: '0.1.0',
    config: { PORT: port(), ADMIN_PORT: port() },
    migrations: new URL('../migrations/', import.meta.url),
    broker: (settings: BrokerSettings): BrokerConfig => ({
      vhosts: {
        publish: { exchanges: sharedExchanges(), publications: publications(orderCreated, ...moreEvents) },
        consume: consumes('order', [paymentProcessed], settings),
      },
    }),
    routes: [placeOrder],
    handlers: [
      on<{ orderId: string }, Schema, Config>(paymentProcessed, async ({ data }, work) => {
        await work.transaction
          .updateTable('orders')
          .set({ status: 'paid' })
          .where('id', '=', data.orderId)
          .execute();
      }),
    ],
  }),
);
