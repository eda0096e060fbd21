// Delays events: takes the messages of a queue away for a while, and returns them in another order.
import { eventually } from '@warren/testkit';
import { type ConsumeMessage, connect } from 'amqplib';
import { expect } from 'chai';
import type { Random } from './random.ts';
import type { Name } from './replica.ts';
import type { System } from './system.ts';

export interface DelayedEvents {
  /** Waits until `count` messages are delayed, delivers them shuffled, and stops delaying. */
  release(random: Random, count: number): Promise<void>;
}

/**
 * Keeps events of this type from a service, with a consumer of higher priority on its queue. Unbinding the queue would not work,
 * because the service restores missing bindings.
 * @param type e.g. `user.created`
 */
export async function delayEvents({ broker }: System, service: Name, type: string): Promise<DelayedEvents> {
  const queue = `${service}.${type}`;
  const connection = await connect(broker.adminUrl, { noDelay: true });
  connection.on('error', () => {});
  const channel = await connection.createChannel();
  channel.on('error', () => {});
  const delayed: ConsumeMessage[] = [];
  const { consumerTag } = await channel.consume(
    queue,
    (message) => {
      if (message !== null) delayed.push(message);
    },
    { priority: 10 },
  );

  return {
    async release(random, count) {
      await eventually(() => expect(delayed, `delayed messages of ${queue}`).to.have.length(count), {
        timeout: 30_000,
      });
      await channel.cancel(consumerTag);
      // Published as the operator, because the broker refuses any other user-id.
      for (const { content, properties } of random.shuffle(delayed))
        await broker.publish(`${service}.return`, queue, content, { ...properties, userId: broker.operator });
      channel.ackAll();
      await channel.close();
      await connection.close();
    },
  };
}
