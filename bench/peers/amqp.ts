// The broker of the peers that use amqplib by themselves.
//
// Practice: RabbitMQ's guides on publisher confirms, consumer acknowledgements and connections (one to publish, one to consume;
// https://www.rabbitmq.com/docs/connections), and amqplib's channel guide (https://amqp-node.github.io/amqplib/).
import { randomUUID } from 'node:crypto';
import { connect } from 'amqplib';

/** Messages in flight to a consumer; RabbitMQ's guide names 100 to 300 as a good range. */
const PREFETCH = 200;

export interface Broker {
  /** Resolves when the broker has confirmed. */
  publish(key: string, data: unknown, messageId?: string): Promise<void>;
  /** Acknowledges each message when `handle` has resolved. */
  consume<Data>(handle: (data: Data) => Promise<void>): Promise<void>;
  close(): Promise<void>;
}

/** Connects, and declares the queue of one routing key. */
export async function openBroker(url: string, queue: string, key: string): Promise<Broker> {
  const [toPublish, toConsume] = await Promise.all([
    connect(url, { noDelay: true }),
    connect(url, { noDelay: true }),
  ]);
  const publisher = await toPublish.createConfirmChannel();
  const consumer = await toConsume.createChannel();
  await publisher.assertExchange('shop', 'topic', { durable: true });
  await consumer.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  await consumer.bindQueue(queue, 'shop', key);
  await consumer.prefetch(PREFETCH);

  return {
    publish: (key, data, messageId = randomUUID()) =>
      new Promise((resolve, reject) => {
        const options = { persistent: true, contentType: 'application/json', messageId };
        publisher.publish('shop', key, Buffer.from(JSON.stringify(data)), options, (error) =>
          error ? reject(error) : resolve(),
        );
      }),
    async consume(handle) {
      await consumer.consume(queue, async (message) => {
        if (message === null) return;
        try {
          await handle(JSON.parse(message.content.toString()));
          consumer.ack(message);
        } catch (error) {
          console.error(error);
          consumer.nack(message);
        }
      });
    },
    async close() {
      await Promise.all([toConsume.close(), toPublish.close()]);
    },
  };
}
