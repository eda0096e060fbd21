// amqplib alone, consuming: a prefetch, and an acknowledgement a message. Run with JSON: the queue, and how many messages are in it.
// Prints the usage; see usage.ts.
//
// Practice: RabbitMQ's guide on consumer acknowledgements and prefetch (https://www.rabbitmq.com/docs/confirms).
import { type ConsumeMessage, connect } from 'amqplib';
import { measure, type Usage } from './usage.ts';

const { url, queue, count } = JSON.parse(process.argv[2] ?? '') as {
  url: string;
  queue: string;
  count: number;
};
const PREFETCH = 200;
const CONSUMER = 'raw';

const connection = await connect(url, { noDelay: true });
const channel = await connection.createChannel();
await channel.prefetch(PREFETCH);

const { done } = measure(count);
const usage = await new Promise<Usage>((resolve, reject) => {
  const take = (message: ConsumeMessage | null) => {
    if (message === null) return;
    JSON.parse(message.content.toString());
    channel.ack(message);
    const all = done();
    if (all) resolve(all);
  };
  channel.consume(queue, take, { consumerTag: CONSUMER }).catch(reject);
});
console.log(JSON.stringify(usage));
// A queue may take what is acknowledged right before a close for not acknowledged.
await channel.cancel(CONSUMER);
await channel.close();
await connection.close();
