import { confirmation } from './confirmation.ts';
import { orderCancelled } from './order-cancelled.ts';
import { orderConfirmed } from './order-confirmed.ts';
import { orderReceived } from './order-received.ts';
import { paymentRefunded } from './payment-refunded.ts';
import type { Template } from './template.ts';
import { welcome } from './welcome.ts';

/** By the name that events and the API use. */
export const templates = {
  welcome,
  confirmation,
  'order-received': orderReceived,
  'order-confirmed': orderConfirmed,
  'order-cancelled': orderCancelled,
  'payment-refunded': paymentRefunded,
} as const satisfies Record<string, Template>;

export type TemplateName = keyof typeof templates;
