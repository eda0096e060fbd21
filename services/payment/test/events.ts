import { randomUUID } from 'node:crypto';
import { type OrderCreated, orderCancelled, orderCreated } from '@warren/contracts';
import { message } from '@warren/testkit';

/** An order, and what the order service would publish about it: `publish(…order.created())` puts it on the exchange. */
export function orderOf(given: Partial<OrderCreated> = {}) {
  const facts: OrderCreated = {
    orderId: randomUUID(),
    userId: randomUUID(),
    productName: 'Welcome kit',
    price: 19.99,
    currency: 'EUR',
    ...given,
  };
  const of = { subject: facts.orderId, correlationId: `correlation-${facts.orderId}` };
  return {
    ...facts,
    facts,
    created: (id?: string) => message(orderCreated, facts, { ...of, id }).published,
    cancelled: (reason = 'payment_timeout', id?: string) =>
      message(orderCancelled, { ...facts, reason }, { ...of, id }).published,
  };
}

export type TestOrder = ReturnType<typeof orderOf>;
