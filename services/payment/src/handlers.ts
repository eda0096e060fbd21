import { on } from '@warren/chassis';
import { orderCancelled, orderCreated } from '@warren/contracts';
import { cancelPayment, openPayment } from './payments.ts';

export const handlers = [
  on(orderCreated, ({ data }, work) => openPayment(work, data)),
  on(orderCancelled, ({ data }, work) => cancelPayment(work, data)),
];
