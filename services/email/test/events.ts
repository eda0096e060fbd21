import { randomUUID } from 'node:crypto';
import {
  type OrderCreated,
  orderCancelled,
  orderConfirmed,
  orderCreated,
  paymentRefunded,
  userCreated,
} from '@warren/contracts';
import { message } from '@warren/testkit';

/** A user and an order of theirs, and the events that tell of them. */
export function customer(
  user: { name?: string; email?: string } = {},
  order: Partial<Omit<OrderCreated, 'orderId' | 'userId'>> = {},
) {
  const userId = randomUUID();
  const { name = 'Ada Lovelace', email = `${userId}@example.com` } = user;
  const facts: OrderCreated = {
    orderId: randomUUID(),
    userId,
    productName: 'Analytical engine',
    price: 1234.5,
    currency: 'EUR',
    ...order,
  };
  const { price: amount, orderId, currency } = facts;
  const refund = { paymentId: randomUUID(), orderId, userId, amount, currency, reason: 'payment_timeout' };
  return {
    userId,
    email,
    orderId,
    created: () => message(userCreated, { userId, name, email }).published,
    ordered: () => message(orderCreated, facts).published,
    confirmed: () => message(orderConfirmed, facts).published,
    cancelled: (reason = 'limit_exceeded') => message(orderCancelled, { ...facts, reason }).published,
    refunded: () => message(paymentRefunded, refund).published,
  };
}
