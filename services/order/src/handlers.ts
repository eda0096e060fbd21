import type { Handlers } from '@warren/chassis';
import type { broker } from './broker.ts';
import type { OrderConfig } from './config.ts';
import { type OrderSchema, settlePayment, welcomeUser } from './orders.ts';

/** An event about a payment locks its order. */
const key = ({ data }: { data: { orderId: string } }) => data.orderId;

export const handlers: Handlers<typeof broker, OrderSchema, OrderConfig> = {
  'order.user.created': ({ data }, work) => welcomeUser(work, data.userId),
  'order.payment.processed': {
    key,
    handle: ({ data }, work) => settlePayment(work, data, 'payment.processed'),
  },
  'order.payment.failed': {
    key,
    handle: ({ data }, work) => settlePayment(work, data, 'payment.failed', data.reason),
  },
  'order.payment.refunded': {
    key,
    handle: ({ data }, work) => settlePayment(work, data, 'payment.refunded'),
  },
};
