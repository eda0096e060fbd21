// How a service's broker user can bring a message to the exchange `events` under a routing key that is not its own. All objects
// carry its name, for it may declare no others.
import { randomUUID } from 'node:crypto';
import { type ConfirmChannel, connect, type Options } from 'amqplib';
import type { Name } from './replica.ts';
import type { System } from './system.ts';

interface Target {
  exchange: string;
  key: string;
  headers?: object;
}

type Way = (channel: ConfirmChannel, name: string, key: string) => Promise<Target> | Target;

/** Each declares what it needs, and returns where to publish. */
export const forgingWays: Record<string, Way> = {
  directly: (_channel, _name, key) => ({ exchange: 'events', key }),
  'by a CC header': (_channel, name, key) => ({
    exchange: 'events',
    key: `${name}.v1`,
    headers: { CC: [key] },
  }),
  'by a BCC header': (_channel, name, key) => ({
    exchange: 'events',
    key: `${name}.v1`,
    headers: { BCC: [key] },
  }),
  'by the dead letters of its own queue': async (channel, name, key) => {
    await channel.assertExchange(name, 'fanout');
    await channel.assertQueue(name, {
      durable: true,
      arguments: {
        'x-message-ttl': 1,
        'x-dead-letter-exchange': 'events',
        'x-dead-letter-routing-key': key,
      },
    });
    await channel.bindQueue(name, name, '');
    return { exchange: name, key: '' };
  },
  'by its own exchange, bound to events': async (channel, name, key) => {
    await channel.assertExchange(name, 'topic');
    await channel.bindExchange('events', name, '#');
    return { exchange: name, key };
  },
  'by its own exchange, whose alternate is events': async (channel, name, key) => {
    await channel.assertExchange(name, 'direct', { alternateExchange: 'events' });
    return { exchange: name, key };
  },
};

/**
 * Publishes a message as the broker user of `service`, in one of these ways, to the routing key of another's event.
 * @returns the broker's refusal; nothing when it took the message
 */
export async function forge(
  { broker }: System,
  service: Name,
  way: Way,
  message: { key: string; content: Buffer; properties: Options.Publish },
): Promise<string | undefined> {
  const connection = await connect(broker.url(service));
  connection.on('error', () => {});
  try {
    const channel = await connection.createConfirmChannel();
    let refusal: string | undefined;
    channel.on('error', ({ message: text }: Error) => {
      refusal = text;
    });
    const { exchange, key, headers } = await way(channel, `${service}.forged.${randomUUID()}`, message.key);
    channel.publish(exchange, key, message.content, { ...message.properties, headers }, () => {});
    await channel.waitForConfirms().catch(() => {});
    return refusal;
  } finally {
    await connection.close();
  }
}
