// The payment service of the same work: on `order.created` INSERT and `payment.processed`. With outbox and inbox.
import {
  type BrokerConfig,
  type BrokerSettings,
  consumes,
  defineService,
  newId,
  on,
  port,
  publications,
  run,
  sharedExchanges,
} from '@warren/chassis';
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

await run(
  defineService<Config, Schema>({
    name: 'payment',
    version: '0.1.0',
    config: { PORT: port(), ADMIN_PORT: port() },
    migrations: new URL('../migrations/', import.meta.url),
    broker: (settings: BrokerSettings): BrokerConfig => ({
      vhosts: {
        publish: { exchanges: sharedExchanges(), publications: publications(paymentProcessed) },
        consume: consumes('payment', [orderCreated, ...moreEvents], settings),
      },
    }),
    handlers: [
      ...moreEvents.map((event) => on(event, async () => {})),
      on(orderCreated, async ({ data }, work) => {
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
      }),
    ],
  }),
);
