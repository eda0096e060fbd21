import type { Handlers } from '@warren/chassis';
import type { broker } from './broker.ts';
import type { EmailConfig } from './config.ts';
import {
  announceCancelledOrder,
  announceConfirmedOrder,
  announceReceivedOrder,
  announceRefund,
  welcomeUser,
} from './emails.ts';
import type { EmailSchema } from './schema.ts';

/** Every e-mail locks its user. */
const key = ({ data }: { data: { userId: string } }) => data.userId;

export const handlers: Handlers<typeof broker, EmailSchema, EmailConfig> = {
  'email.user.created': { key, handle: ({ data }, work) => welcomeUser(work, data) },
  'email.order.created': { key, handle: ({ data }, work) => announceReceivedOrder(work, data) },
  'email.order.confirmed': { key, handle: ({ data }, work) => announceConfirmedOrder(work, data) },
  'email.order.cancelled': { key, handle: ({ data }, work) => announceCancelledOrder(work, data) },
  'email.payment.refunded': { key, handle: ({ data }, work) => announceRefund(work, data) },
};
