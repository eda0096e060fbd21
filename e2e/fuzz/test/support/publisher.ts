// Publishes as the services' own broker users, who may publish less than the operator.
import type { TestBroker } from '@warren/testkit';
import { type ChannelModel, type ConfirmChannel, connect, type Options } from 'amqplib';
import type { Name } from '../../../support/src/index.ts';

export interface Publisher {
  /** Whether the broker confirmed it; false when it refused the message, or the client could not write it. */
  publish(
    as: Name,
    exchange: string,
    key: string,
    content: Buffer,
    options: Options.Publish,
  ): Promise<boolean>;
  /** A queue of this service's own, whose messages are dropped; bound to `rpc` under its name. */
  openReplyQueue(as: Name, queue: string): Promise<void>;
  close(): Promise<void>;
}

export function createPublisher(broker: TestBroker): Publisher {
  const connections = new Map<Name, ChannelModel>();
  const channels = new Map<Name, ConfirmChannel>();

  const connectionOf = async (service: Name): Promise<ChannelModel> => {
    const known = connections.get(service);
    if (known) return known;
    const opened = await connect(broker.url(service), { noDelay: true });
    opened.on('error', () => {});
    opened.once('close', () => connections.delete(service));
    connections.set(service, opened);
    return opened;
  };
  const channelOf = async (service: Name): Promise<ConfirmChannel> => {
    const known = channels.get(service);
    if (known) return known;
    const opened = await (await connectionOf(service)).createConfirmChannel();
    opened.on('error', () => {});
    opened.once('close', () => channels.delete(service));
    channels.set(service, opened);
    return opened;
  };

  return {
    async publish(as, exchange, key, content, options) {
      const channel = await channelOf(as);
      return new Promise((resolve) => {
        const onClose = () => resolve(false);
        channel.once('close', onClose);
        const settle = (confirmed: boolean) => {
          channel.off('close', onClose);
          resolve(confirmed);
        };
        try {
          channel.publish(exchange, key, content, options, (error) => settle(!error));
        } catch {
          settle(false);
        }
      });
    },
    async openReplyQueue(as, queue) {
      const channel = await (await connectionOf(as)).createChannel();
      channel.on('error', () => {});
      await channel.assertQueue(queue, { exclusive: true });
      await channel.bindQueue(queue, 'rpc', queue);
      await channel.consume(queue, () => {}, { noAck: true });
    },
    async close() {
      await Promise.all([...connections.values()].map((connection) => connection.close().catch(() => {})));
    },
  };
}

/** The user that a service's URL names: the broker refuses messages that carry another one. */
export const userOf = (url: string): string => decodeURIComponent(new URL(url).username);
