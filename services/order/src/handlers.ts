import { on } from '@warren/chassis';
import { paymentFailed, paymentProcessed, paymentRefunded, userCreated } from '@warren/contracts';
import { settlePayment, welcomeUser } from './orders.ts';

/** An event about a payment locks its order. */
const byOrder = { key: ({ data }: { data: { orderId: string } }) => data.orderId };

export const handlers = [
  on(userCreated, ({ data }, work) => welcomeUser(work, data.userId)),
  on(paymentProcessed, ({ data }, work) => settlePayment(work, data, 'payment.processed'), byOrder),
  on(paymentFailed, ({ data }, work) => settlePayment(work, data, 'payment.failed', data.reason), byOrder),
  on(paymentRefunded, ({ data }, work) => settlePayment(work, data, 'payment.refunded'), byOrder),
];
