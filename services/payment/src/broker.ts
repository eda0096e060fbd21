import {
  type BrokerConfig,
  type BrokerSettings,
  consumes,
  publications,
  sharedExchanges,
} from '@warren/chassis';
import {
  orderCancelled,
  orderCreated,
  paymentFailed,
  paymentProcessed,
  paymentRefunded,
} from '@warren/contracts';

/** Hears `order.created` and `order.cancelled`, publishes `payment.processed`, `payment.failed` and `payment.refunded`. */
export const broker = (settings: BrokerSettings): BrokerConfig => ({
  vhosts: {
    publish: {
      exchanges: sharedExchanges(),
      publications: publications(paymentProcessed, paymentFailed, paymentRefunded),
    },
    consume: consumes('payment', [orderCreated, orderCancelled], settings),
  },
});
