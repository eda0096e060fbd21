import { randomUUID } from 'node:crypto';
import {
  type OrderCreated,
  orderCancelled,
  orderConfirmed,
  orderCreated,
  paymentRefunded,
  userCreated,
} from '@warren/contracts';
import { buildEvent, type EventDefinition } from '@warren/events';

/** An event as its service would publish it: `publish(…message)` puts it on the exchange. */
function messageOf<Data extends object>(definition: EventDefinition<Data>, data: Data) {
  const id = randomUUID();
  const source = definition.type.split('.')[0] as string;
  const event = buildEvent(definition, {
    id,
    source: `/${source}`,
    time: new Date(),
    correlationId: `correlation-${id}`,
    data,
  });
  const properties = {
    messageId: id,
    type: event.type,
    appId: source,
    correlationId: event.correlationid,
    contentType: 'application/cloudevents+json',
    deliveryMode: 2,
  };
  return ['events', definition.routingKey, Buffer.from(JSON.stringify(event)), properties] as const;
}

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
    created: () => messageOf(userCreated, { userId, name, email }),
    ordered: () => messageOf(orderCreated, facts),
    confirmed: () => messageOf(orderConfirmed, facts),
    cancelled: (reason = 'limit_exceeded') => messageOf(orderCancelled, { ...facts, reason }),
    refunded: () => messageOf(paymentRefunded, refund),
  };
}
