import { on } from '@warren/chassis';
import { paymentFailed, paymentProcessed, paymentRefunded, userCreated } from '@warren/contracts';
import { advance, welcomeUser } from './orders.ts';

export const handlers = [
  on(userCreated, ({ data }, work) => welcomeUser(work, data.userId)),
  on(paymentProcessed, ({ data }, work) => advance(work, data.orderId, 'payment.processed')),
  on(paymentFailed, ({ data }, work) => advance(work, data.orderId, 'payment.failed', data.reason)),
  on(paymentRefunded, ({ data }, work) => advance(work, data.orderId, 'payment.refunded')),
];
