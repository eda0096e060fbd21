import { randomUUID } from 'node:crypto';
import { userCreated } from '@warren/contracts';
import { buildEvent } from '@warren/events';

/** A sign-up as the user service would publish it: `publish(…message)` puts it on the exchange. */
export function signUpOf(userId: string = randomUUID(), id: string = randomUUID()) {
  const event = buildEvent(userCreated, {
    id,
    source: '/user',
    time: new Date(),
    subject: userId,
    correlationId: `correlation-${id}`,
    data: { userId, name: 'Ada Lovelace', email: 'ada@example.com' },
  });
  const properties = {
    messageId: id,
    type: event.type,
    appId: 'user',
    correlationId: event.correlationid,
    contentType: 'application/cloudevents+json',
    deliveryMode: 2,
  };
  return {
    userId,
    event,
    publish: ['events', userCreated.routingKey, Buffer.from(JSON.stringify(event)), properties] as const,
  };
}
