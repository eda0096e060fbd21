import type { Handlers } from '@warren/chassis';
import type { broker } from './broker.ts';
import type { PaymentConfig } from './config.ts';
import { cancelPayment, openPayment, type PaymentSchema } from './payments.ts';

export const handlers: Handlers<typeof broker, PaymentSchema, PaymentConfig> = {
  'payment.order.created': ({ data }, work) => openPayment(work, data),
  'payment.order.cancelled': ({ data }, work) => cancelPayment(work, data),
};
