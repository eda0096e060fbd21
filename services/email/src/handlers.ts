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

export const handlers = [
  on(userCreated, ({ data }, work) => welcomeUser(work, data)),
  on(orderCreated, ({ data }, work) => announceReceivedOrder(work, data)),
  on(orderConfirmed, ({ data }, work) => announceConfirmedOrder(work, data)),
  on(orderCancelled, ({ data }, work) => announceCancelledOrder(work, data)),
  on(paymentRefunded, ({ data }, work) => announceRefund(work, data)),
];
