import { defineBroker, RETRY_DELAYS } from '@warren/chassis';
import {
  emailSent,
  orderCancelled,
  orderConfirmed,
  orderCreated,
  paymentRefunded,
  userCreated,
} from '@warren/contracts';

/** The settings of every queue of events. RETRY_DELAYS is the retry ladder of the environment: 1s,10s,1m by default. */
const standard = { prefetch: 200, redeliveries: { limit: 10 }, retry: RETRY_DELAYS };

export const broker = defineBroker('email', {
  vhosts: {
    publish: {
      publications: {
        'email.sent.v1': emailSent,
      },
    },
    consume: {
      subscriptions: {
        'email.user.created': { event: userCreated, ...standard, deadLetters: 'email.user.created.dlq' },
        'email.order.created': { event: orderCreated, ...standard, deadLetters: 'email.order.created.dlq' },
        'email.order.confirmed': {
          event: orderConfirmed,
          ...standard,
          deadLetters: 'email.order.confirmed.dlq',
        },
        'email.order.cancelled': {
          event: orderCancelled,
          ...standard,
          deadLetters: 'email.order.cancelled.dlq',
        },
        'email.payment.refunded': {
          event: paymentRefunded,
          ...standard,
          deadLetters: 'email.payment.refunded.dlq',
        },
      },
    },
  },
});
