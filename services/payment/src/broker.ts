import { defineBroker, RETRY_DELAYS } from '@warren/chassis';
import {
  listPayments,
  orderCancelled,
  orderCreated,
  paymentFailed,
  paymentProcessed,
  paymentRefunded,
} from '@warren/contracts';

/** The settings of every queue of events. RETRY_DELAYS is the retry ladder of the environment: 1s,10s,1m by default. */
const standard = { prefetch: 200, redeliveries: { limit: 10 }, retry: RETRY_DELAYS };

export const broker = defineBroker('payment', {
  vhosts: {
    publish: {
      publications: {
        'payment.processed.v1': paymentProcessed,
        'payment.failed.v1': paymentFailed,
        'payment.refunded.v1': paymentRefunded,
      },
    },
    consume: {
      subscriptions: {
        'payment.order.created': {
          event: orderCreated,
          ...standard,
          deadLetters: 'payment.order.created.dlq',
        },
        'payment.order.cancelled': {
          event: orderCancelled,
          ...standard,
          deadLetters: 'payment.order.cancelled.dlq',
        },
        'payment.rpc': {
          methods: { 'payment.list.v1': listPayments },
          prefetch: 1_100,
          redeliveries: { limit: 10 },
        },
      },
    },
  },
});
