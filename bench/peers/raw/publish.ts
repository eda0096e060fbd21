// amqplib alone, publishing as fast as is safe: persistent messages, and a window of them that wait for their confirms.
// Run with JSON: where to, how many, and the body, in which $ID becomes a UUID of each message's own. Prints the
// usage; see usage.ts.
//
// Practice: RabbitMQ's tutorial on publisher confirms, "Strategy 3: handling publisher confirms asynchronously"
// (https://www.rabbitmq.com/tutorials/tutorial-seven-java).
import { randomUUID } from 'node:crypto';
import { connect, type Options } from 'amqplib';
import { measure, type Usage } from './usage.ts';

const { url, exchange, key, count, body, properties } = JSON.parse(process.argv[2] ?? '') as {
  url: string;
  exchange: string;
  key: string;
  count: number;
  body: string;
  properties: Options.Publish;
};
/** Messages that may wait for their confirm. */
const WINDOW = 500;

const messages = Array.from({ length: count }, () => {
  const id = randomUUID();
  return { id, content: Buffer.from(body.replaceAll('$ID', id)) };
});
const connection = await connect(url, { noDelay: true });
const channel = await connection.createConfirmChannel();

const { done } = measure(count);
const usage = await new Promise<Usage>((resolve, reject) => {
  let sent = 0;
  let confirmed = 0;
  const fill = () => {
    while (sent < count && sent - confirmed < WINDOW) {
      const { id, content } = messages[sent] as (typeof messages)[number];
      sent += 1;
      channel.publish(exchange, key, content, { persistent: true, messageId: id, ...properties }, (error) => {
        if (error) return reject(error);
        confirmed += 1;
        const all = done();
        if (all) resolve(all);
        else fill();
      });
    }
  };
  fill();
});
console.log(JSON.stringify(usage));
await connection.close();
