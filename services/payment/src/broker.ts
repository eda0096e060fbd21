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
  listPayments,
  orderCancelled,
  orderCreated,
  paymentFailed,
  paymentProcessed,
  paymentRefunded,
} from '@warren/contracts';

/**
 * Hears `order.created` and `order.cancelled`, publishes `payment.processed`, `payment.failed` and `payment.refunded`, answers
 * `payment.list`.
 */
export const broker = (settings: BrokerSettings): BrokerConfig => ({
  vhosts: {
    publish: {
      exchanges: sharedExchanges(),
      publications: publications(paymentProcessed, paymentFailed, paymentRefunded),
    },
    consume: combine(
      consumes('payment', [orderCreated, orderCancelled], settings),
      serves('payment', [listPayments]),
    ),
  },
});
