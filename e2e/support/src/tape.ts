// Every event there was: a queue of the operator's records them, also while the test's own connections are broken.
import { managementOf, type TestBroker } from '@warren/testkit';

const TAPE = 'e2e.tape';
/** Events that are fetched at once. */
const BATCH = 1_000;

export interface Taped {
  type: string;
  /** Of the aggregate that it is about. */
  about: string;
  messageId: string;
  correlationId: string;
  /** The message, to send it again. */
  routingKey: string;
  payload: string;
  properties: object;
}

export interface Tape {
  /** Begins to record. */
  open(): Promise<void>;
  /** All events so far. */
  read(): Promise<Taped[]>;
  /** The other queues of the vhost, but for those that only their owner may look at. */
  otherQueues(): Promise<string[]>;
}

interface Fetched {
  payload: string;
  routing_key: string;
  properties: { message_id: string; correlation_id: string };
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
      for (;;) {
        const fetched = await api().request<Fetched[]>('POST', `queues/${vhost()}/${TAPE}/get`, {
          count: BATCH,
          ackmode: 'ack_requeue_false',
          encoding: 'auto',
        });
        events.push(...(fetched ?? []).map(taped));
        if (!fetched?.length) return events;
      }
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

function taped({ payload, routing_key: routingKey, properties }: Fetched): Taped {
  const { type, data } = JSON.parse(payload);
  return {
    type,
    about: data[SUBJECT[type.split('.')[0] as string] as string],
    messageId: properties.message_id,
    correlationId: properties.correlation_id,
    routingKey,
    payload,
    properties,
  };
}
