// Events that come late, and in another order: what comes to a queue is taken away for a while, and given back shuffled.
import { eventually } from '@warren/testkit';
import { type ConsumeMessage, connect } from 'amqplib';
import { expect } from 'chai';
import type { Random } from './random.ts';
import type { Name } from './replica.ts';
import type { System } from './system.ts';

export interface Held {
  /** When it has missed this much, gives it that, shuffled, and from now on what comes. */
  release(random: Random, count: number): Promise<void>;
}

/**
 * From now on nothing reaches this service of what comes to its queue for events of this type: a consumer of higher priority
 * takes it. Unbinding the queue would not do, for the service misses its bindings and makes them again.
 * @param type e.g. `user.created`
 */
export async function holdBack({ broker }: System, service: Name, type: string): Promise<Held> {
  const queue = `${service}.${type}`;
  const connection = await connect(broker.adminUrl, { noDelay: true });
  connection.on('error', () => {});
  const channel = await connection.createChannel();
  channel.on('error', () => {});
  const held: ConsumeMessage[] = [];
  const { consumerTag } = await channel.consume(
    queue,
    (message) => {
      if (message !== null) held.push(message);
    },
    { priority: 10 },
  );

  return {
    async release(random, count) {
      await eventually(() => expect(held, `messages of ${queue} held back`).to.have.length(count), {
        timeout: 30_000,
      });
      await channel.cancel(consumerTag);
      // Published again by the operator: the broker refuses the user-id of anybody else.
      for (const { content, properties } of random.shuffle(held))
        await broker.publish(`${service}.return`, queue, content, { ...properties, userId: broker.operator });
      channel.ackAll();
      await channel.close();
      await connection.close();
    },
  };
}
