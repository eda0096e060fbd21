// Every event there was: a queue of the operator's records them, also while the test's own connections are broken.

import { managementOf, type TestBroker } from '@warren/testkit';
import { type Channel, type ConsumeMessage, connect } from 'amqplib';

const TAPE = 'e2e.tape';
/** Events that are acknowledged at once. */
const BATCH = 500;

export interface Taped {
  type: string;
  /** Of the aggregate that it is about. */
  about: string;
  messageId: string;
  correlationId: string;
  /** The message, to send it again. */
  routingKey: string;
  payload: string;
  properties: ConsumeMessage['properties'];
}

export interface Tape {
  /** Begins to record. */
  open(): Promise<void>;
  /** All events so far. */
  read(): Promise<Taped[]>;
  /** The other queues of the vhost, but for those that only their owner may look at. */
  otherQueues(): Promise<string[]>;
}

/** Name of the field that says whom or what an event is about. */
const SUBJECT: Record<string, string> = {
  user: 'userId',
  session: 'sessionId',
  order: 'orderId',
  payment: 'paymentId',
  email: 'emailId',
};

export function createTape(broker: TestBroker): Tape {
  const api = () => managementOf({ url: broker.adminUrl, managementUrl: broker.managementUrl });
  const vhost = () => encodeURIComponent(broker.vhost);
  const events: Taped[] = [];

  return {
    async open() {
      await api().request('PUT', `queues/${vhost()}/${TAPE}`, {
        durable: true,
        arguments: { 'x-queue-type': 'quorum' },
      });
      await api().request('POST', `bindings/${vhost()}/e/events/q/${TAPE}`, { routing_key: '#' });
    },

    async read() {
      const connection = await connect(broker.adminUrl, { noDelay: true });
      try {
        const channel = await connection.createChannel();
        await channel.prefetch(2 * BATCH);
        const { messageCount } = await channel.checkQueue(TAPE);
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
        .filter(({ name, exclusive }) => name !== TAPE && !exclusive)
        .map(({ name }) => name);
    },
  };
}

/** Takes the first messages of the tape off it; what comes after them returns to it with the end of the channel. */
function take(channel: Channel, count: number): Promise<Taped[]> {
  const taken: Taped[] = [];
  return new Promise((resolve, reject) => {
    if (count === 0) return resolve(taken);
    channel.once('error', reject);
    channel.once('close', () => reject(new Error(`the tape broke after ${taken.length} of ${count} events`)));
    const onMessage = (message: ConsumeMessage | null) => {
      if (message === null || taken.length === count) return;
      taken.push(taped(message));
      if (taken.length % BATCH === 0 || taken.length === count) channel.ack(message, true);
      if (taken.length === count) resolve(taken);
    };
    channel.consume(TAPE, onMessage).catch(reject);
  });
}

function taped({ content, fields, properties }: ConsumeMessage): Taped {
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
