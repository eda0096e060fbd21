import { on } from '@warren/chassis';
import {
  orderCancelled,
  orderConfirmed,
  orderCreated,
  paymentRefunded,
  userCreated,
} from '@warren/contracts';
import {
  announceCancelledOrder,
  announceConfirmedOrder,
  announceReceivedOrder,
  announceRefund,
  welcomeUser,
} from './emails.ts';

/** Every e-mail locks its user. */
const byUser = { key: ({ data }: { data: { userId: string } }) => data.userId };

export const handlers = [
  on(userCreated, ({ data }, work) => welcomeUser(work, data), byUser),
  on(orderCreated, ({ data }, work) => announceReceivedOrder(work, data), byUser),
  on(orderConfirmed, ({ data }, work) => announceConfirmedOrder(work, data), byUser),
  on(orderCancelled, ({ data }, work) => announceCancelledOrder(work, data), byUser),
  on(paymentRefunded, ({ data }, work) => announceRefund(work, data), byUser),
];
