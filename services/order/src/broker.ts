import {
  type BrokerConfig,
  type BrokerSettings,
  combine,
  consumes,
  publications,
  serves,
  sharedExchanges,
} from '@warren/chassis';
import {
  listOrders,
  orderCancelled,
  orderConfirmed,
  orderCreated,
  paymentFailed,
  paymentProcessed,
  paymentRefunded,
  userCreated,
} from '@warren/contracts';

/** Hears of sign-ups and payments, publishes what becomes of orders, answers `order.list`. */
export const broker = (settings: BrokerSettings): BrokerConfig => ({
  vhosts: {
    publish: {
      exchanges: sharedExchanges(),
      publications: publications(orderCreated, orderConfirmed, orderCancelled),
    },
    consume: combine(
      consumes('order', [userCreated, paymentProcessed, paymentFailed, paymentRefunded], settings),
      serves('order', [listOrders]),
    ),
  },
});
