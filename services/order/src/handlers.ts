import { on } from '@warren/chassis';
import { paymentFailed, paymentProcessed, paymentRefunded, userCreated } from '@warren/contracts';
import { settlePayment, welcomeUser } from './orders.ts';

export const handlers = [
  on(userCreated, ({ data }, work) => welcomeUser(work, data.userId)),
  on(paymentProcessed, ({ data }, work) => settlePayment(work, data, 'payment.processed')),
  on(paymentFailed, ({ data }, work) => settlePayment(work, data, 'payment.failed', data.reason)),
  on(paymentRefunded, ({ data }, work) => settlePayment(work, data, 'payment.refunded')),
];
