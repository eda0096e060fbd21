import { randomUUID } from 'node:crypto';
import { type OrderCreated, orderCancelled, orderCreated } from '@warren/contracts';
import { buildEvent, type EventDefinition } from '@warren/events';

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
  return {
    ...facts,
    facts,
    created: (id?: string) => message(orderCreated, facts, id),
    cancelled: (reason = 'payment_timeout', id?: string) => message(orderCancelled, { ...facts, reason }, id),
  };
}

export type TestOrder = ReturnType<typeof orderOf>;

function message<Data extends OrderCreated>(
  definition: EventDefinition<Data>,
  data: Data,
  id: string = randomUUID(),
) {
  const event = buildEvent(definition, {
    id,
    source: '/order',
    time: new Date(),
    subject: data.orderId,
    correlationId: `correlation-${data.orderId}`,
    data,
  });
  const properties = {
    messageId: id,
    type: event.type,
    appId: 'order',
    correlationId: event.correlationid,
    contentType: 'application/cloudevents+json',
    deliveryMode: 2,
  };
  return ['events', definition.routingKey, Buffer.from(JSON.stringify(event)), properties] as const;
}
