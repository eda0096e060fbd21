// Messages of the kit: events as the service of their contract publishes them, and what is done to them.
import { randomUUID } from 'node:crypto';
import { CONTENT_TYPE } from '@warren/events';
import type { Options } from 'amqplib';
import { firstId, varied } from './sample.ts';

export type Envelope = Record<string, unknown>;

/** A message that the kit publishes, perhaps more than once. */
export interface Draft {
  /** For people: which of the messages of a check it is. */
  what: string;
  /** The AMQP `message-id`. */
  messageId: string;
  event: Envelope;
  /** Of the event, in whatever form it carries them. */
  data: object;
  content: Buffer;
  properties: Options.Publish;
  /** Another event with the same id, from another source. */
  twin?: Draft;
}

export interface EventOf {
  type: string;
  version: number;
  /** The service that publishes it. */
  from: string;
  /** Its broker user. */
  user: string;
  sample: object;
  keep: readonly string[];
}

export interface Changes {
  /** Of the event, before it becomes the body. */
  event?: (event: Envelope) => Envelope;
  /** Of the body. */
  content?: (content: Buffer, event: Envelope) => Buffer;
  properties?: Options.Publish;
  /** In place of the sample. */
  data?: object;
}

/** A valid event with new ids, and with the changes. */
export function drafted(of: EventOf, what: string, changes: Changes = {}): Draft {
  const { type, version, from, user, sample, keep } = of;
  const data = changes.data ?? varied(sample, keep);
  const [id, correlationid] = [randomUUID(), randomUUID()];
  const time = new Date();
  const whole: Envelope = {
    specversion: '1.0',
    id,
    source: `/${from}`,
    type,
    time: time.toISOString(),
    datacontenttype: 'application/json',
    dataschema: `urn:warren:${type}:v${version}`,
    subject: firstId(data) ?? id,
    correlationid,
    data,
  };
  const event = changes.event?.(whole) ?? whole;
  const content = Buffer.from(JSON.stringify(event));
  const properties = {
    messageId: id,
    type,
    appId: from,
    userId: user,
    correlationId: correlationid,
    timestamp: Math.floor(time.getTime() / 1_000),
    contentType: CONTENT_TYPE,
    persistent: true,
    ...changes.properties,
    headers: { [KIT_HEADER]: id, ...changes.properties?.headers },
  };
  return {
    what,
    messageId: properties.messageId ?? id,
    event,
    data,
    content: changes.content?.(content, event) ?? content,
    properties,
  };
}

/** A header that the contract does not know: a consumer keeps it. */
export const KIT_HEADER = 'x-contract-kit';
