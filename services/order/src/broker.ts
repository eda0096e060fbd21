import { defineBroker, RETRY_DELAYS } from '@warren/chassis';
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

/** The settings of every queue of events. RETRY_DELAYS is the retry ladder of the environment: 1s,10s,1m by default. */
const standard = { prefetch: 200, redeliveries: { limit: 10 }, retry: RETRY_DELAYS };

export const broker = defineBroker('order', {
  vhosts: {
    publish: {
      publications: {
        'order.created.v1': orderCreated,
        'order.confirmed.v1': orderConfirmed,
        'order.cancelled.v1': orderCancelled,
      },
    },
    consume: {
      subscriptions: {
        'order.user.created': { event: userCreated, ...standard, deadLetters: 'order.user.created.dlq' },
        'order.payment.processed': {
          event: paymentProcessed,
          ...standard,
          deadLetters: 'order.payment.processed.dlq',
        },
        'order.payment.failed': {
          event: paymentFailed,
          ...standard,
          deadLetters: 'order.payment.failed.dlq',
        },
        'order.payment.refunded': {
          event: paymentRefunded,
          ...standard,
          deadLetters: 'order.payment.refunded.dlq',
        },
        'order.rpc': {
          methods: { 'order.list.v1': listOrders },
          prefetch: 1_100,
          redeliveries: { limit: 10 },
        },
      },
    },
  },
});
