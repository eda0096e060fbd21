// Events, as a consumer receives them.
import { randomUUID } from 'node:crypto';
import { buildEvent, type CloudEvent, CONTENT_TYPE, type EventDefinition } from '@warren/events';
import type { Options } from 'amqplib';

export interface TestMessage<Data extends object = object> {
  /** Of the event, and of the message. */
  id: string;
  event: CloudEvent<Data>;
  /** For `broker.publish(...message.published)`. */
  published: readonly [
    exchange: string,
    routingKey: string,
    content: Buffer,
    properties: Options.Publish & { messageId: string },
  ];
}

/**
 * An event as the service of its contract publishes it.
 * @param given.subject id of the aggregate that it is about
 * @throws {ContractError} when the data does not fit the contract
 * @example await broker.publish(...message(userCreated, { userId, name: 'Ada', email: 'ada@example.com' }).published);
 */
export function message<Data extends object>(
  definition: EventDefinition<Data>,
  data: Data,
  given: { id?: string; subject?: string; correlationId?: string } = {},
): TestMessage<Data> {
  const { id = randomUUID(), subject, correlationId = `correlation-${id}` } = given;
  const source = `/${definition.from}`;
  const event = buildEvent(definition, { id, source, time: new Date(), subject, correlationId, data });
  const properties = {
    messageId: id,
    type: event.type,
    appId: definition.from,
    correlationId,
    contentType: CONTENT_TYPE,
    deliveryMode: 2,
  };
  return {
    id,
    event,
    published: ['events', definition.routingKey, Buffer.from(JSON.stringify(event)), properties],
  };
}
