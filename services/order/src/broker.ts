import {
  type BrokerConfig,
  type BrokerSettings,
  consumes,
  publications,
  sharedExchanges,
} from '@warren/chassis';
import {
  orderCancelled,
  orderConfirmed,
  orderCreated,
  paymentFailed,
  paymentProcessed,
  paymentRefunded,
  userCreated,
} from '@warren/contracts';

/** Hears of sign-ups and payments, publishes what becomes of orders. */
export const broker = (settings: BrokerSettings): BrokerConfig => ({
  vhosts: {
    publish: {
      exchanges: sharedExchanges(),
      publications: publications(orderCreated, orderConfirmed, orderCancelled),
    },
    consume: consumes('order', [userCreated, paymentProcessed, paymentFailed, paymentRefunded], settings),
  },
});
