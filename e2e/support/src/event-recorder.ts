// Records all events in a queue of its own, also while the test's other connections are broken.

import { managementOf, type TestBroker } from '@warren/testkit';
import { type Channel, type ConsumeMessage, connect } from 'amqplib';

const QUEUE = 'e2e.recorder';
/** Events that are acknowledged together. */
const BATCH = 500;

export interface RecordedEvent {
  type: string;
  /** Id of the aggregate. */
  about: string;
  messageId: string;
  correlationId: string;
  /** The message, for publishing it again. */
  routingKey: string;
  payload: string;
  properties: ConsumeMessage['properties'];
}

export interface EventRecorder {
  /** Starts recording. */
  open(): Promise<void>;
  /** All events so far. */
  read(): Promise<RecordedEvent[]>;
  /** The other queues of the vhost, without exclusive ones. */
  otherQueues(): Promise<string[]>;
}

/** The field with the aggregate's id, by the first word of the event's type. */
const SUBJECT: Record<string, string> = {
  user: 'userId',
  session: 'sessionId',
  order: 'orderId',
  payment: 'paymentId',
  email: 'emailId',
};

export function createEventRecorder(broker: TestBroker): EventRecorder {
  const api = () => managementOf({ url: broker.adminUrl, managementUrl: broker.managementUrl });
  const vhost = () => encodeURIComponent(broker.vhost);
  const events: RecordedEvent[] = [];

  return {
    async open() {
      await api().request('PUT', `queues/${vhost()}/${QUEUE}`, {
        durable: true,
        arguments: { 'x-queue-type': 'quorum' },
      });
      await api().request('POST', `bindings/${vhost()}/e/events/q/${QUEUE}`, { routing_key: '#' });
    },

    async read() {
      const connection = await connect(broker.adminUrl, { noDelay: true });
      try {
        const channel = await connection.createChannel();
        await channel.prefetch(2 * BATCH);
        const { messageCount } = await channel.checkQueue(QUEUE);
        events.push(...(await take(channel, messageCount)));
        await channel.close();
      } finally {
        await connection.close();
      }
      return events;
    },

    async otherQueues() {
      const queues = await api().request<{ name: string; exclusive: boolean }[]>(
        'GET',
        `queues/${vhost()}?columns=name,exclusive`,
      );
      return (queues ?? [])
        .filter(({ name, exclusive }) => name !== QUEUE && !exclusive)
        .map(({ name }) => name);
    },
  };
}

/** Consumes the first messages of the queue; unacknowledged ones return to it when the channel closes. */
function take(channel: Channel, count: number): Promise<RecordedEvent[]> {
  const taken: RecordedEvent[] = [];
  return new Promise((resolve, reject) => {
    if (count === 0) return resolve(taken);
    channel.once('error', reject);
    channel.once('close', () =>
      reject(new Error(`the recorder lost its channel after ${taken.length} of ${count} events`)),
    );
    const onMessage = (message: ConsumeMessage | null) => {
      if (message === null || taken.length === count) return;
      taken.push(parse(message));
      if (taken.length % BATCH === 0 || taken.length === count) channel.ack(message, true);
      if (taken.length === count) resolve(taken);
    };
    channel.consume(QUEUE, onMessage).catch(reject);
  });
}

function parse({ content, fields, properties }: ConsumeMessage): RecordedEvent {
  const payload = content.toString();
  const { type, data } = JSON.parse(payload);
  return {
    type,
    about: data[SUBJECT[type.split('.')[0] as string] as string],
    messageId: properties.messageId,
    correlationId: properties.correlationId,
    routingKey: fields.routingKey,
    payload,
    properties,
  };
}
