// amqplib alone, consuming: a prefetch, and an acknowledgement a message. Run with JSON: the queue, and how many messages are in it.
// Prints the time that the last nine tenths of them took.
//
// Practice: RabbitMQ's guide on consumer acknowledgements and prefetch (https://www.rabbitmq.com/docs/confirms).
import { connect } from 'amqplib';

const { url, queue, count } = JSON.parse(process.argv[2] ?? '') as {
  url: string;
  queue: string;
  count: number;
};
const PREFETCH = 200;
const WARM_UP = Math.floor(count / 10);

const connection = await connect(url, { noDelay: true });
const channel = await connection.createChannel();
await channel.prefetch(PREFETCH);

let began = 0;
let consumed = 0;
await new Promise<void>((resolve, reject) => {
  channel
    .consume(queue, (message) => {
      if (message === null) return;
      JSON.parse(message.content.toString());
      channel.ack(message);
      consumed += 1;
      if (consumed === WARM_UP) began = performance.now();
      if (consumed === count) resolve();
    })
    .catch(reject);
});
console.log(JSON.stringify({ messages: count - WARM_UP, seconds: (performance.now() - began) / 1_000 }));
await channel.close();
await connection.close();
