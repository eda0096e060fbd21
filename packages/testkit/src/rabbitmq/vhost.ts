import { randomUUID } from 'node:crypto';
import { type Channel, type ChannelModel, type ConfirmChannel, connect, type Options } from 'amqplib';
import type { Loaded } from './definitions.ts';
import { openProbe, type Probe, type Recorded, record } from './probe.ts';

/** What the operator can look at and do on one vhost. */
export interface Vhost {
  vhost: string;
  /** Of the operator, who may do all on this vhost. */
  adminUrl: string;
  /** Of a service's restricted user. */
  url(service: string): string;
  /** Records what is published to `exchange` under `key` (a pattern of topic exchanges, default `#`). */
  probe(exchange: string, key?: string): Promise<Probe>;
  /** Messages that are ready, or undefined when there is no such queue. Unacknowledged ones are not counted. */
  queueDepth(queue: string): Promise<number | undefined>;
  /** The messages of a queue, oldest first. They stay in it, unless `remove` is set. */
  get(queue: string, options?: { limit?: number; remove?: boolean }): Promise<Recorded[]>;
  /** Publishes as the operator, and waits for the confirm. An object goes out as JSON. */
  publish(
    exchange: string,
    key: string,
    content: Buffer | string | object,
    properties?: Options.Publish,
  ): Promise<void>;
  /**
   * Asks a method over the exchange `rpc`, as a service would, and gives the body of the answer, which may be a problem.
   * @param key its routing key, e.g. `user.find.v1`
   * @param options timeout in ms, default 5,000
   * @throws when nobody serves it, or nobody answers in time
   */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into it as it likes
  ask(key: string, data: unknown, options?: { timeout?: number }): Promise<any>;
  purge(queue: string): Promise<void>;
  deleteQueue(queue: string): Promise<void>;
}

/** The operator's tools on a vhost that definitions were loaded into. */
export function operate(loaded: () => Loaded): Vhost & { disconnect(): Promise<void> } {
  let connection: Promise<ChannelModel> | undefined;
  let publisher: Promise<ConfirmChannel> | undefined;
  const probes = new Set<ChannelModel>();

  const open = async () => {
    // With Nagle's algorithm on, as amqplib leaves it, every small message waits for the answer to the one before.
    const opened = await connect(loaded().operatorUrl, { noDelay: true });
    opened.on('error', () => {});
    return opened;
  };

  /** Opened at its first use, and again once it has been lost. */
  const connected = async (): Promise<ChannelModel> => {
    connection ??= open().then((opened) => {
      opened.once('close', () => {
        connection = undefined;
        publisher = undefined;
      });
      return opened;
    });
    return connection.catch((error) => {
      connection = undefined;
      throw error;
    });
  };

  /** One channel for all that is published: it keeps the order of the calls. A refusal closes it. */
  const openPublisher = async (): Promise<ConfirmChannel> => {
    try {
      const channel = await (await connected()).createConfirmChannel();
      channel.on('error', () => {});
      channel.once('close', () => {
        publisher = undefined;
      });
      return channel;
    } catch (error) {
      publisher = undefined;
      throw error;
    }
  };

  /** One channel a call: whatever a refusal does to it, the next call is not concerned. */
  const withChannel = async <T>(use: (channel: Channel) => Promise<T>): Promise<T> => {
    const channel = await (await connected()).createChannel();
    channel.on('error', () => {});
    try {
      return await use(channel);
    } finally {
      await channel.close().catch(() => {});
    }
  };

  return {
    get vhost() {
      return loaded().vhost;
    },
    get adminUrl() {
      return loaded().operatorUrl;
    },
    url: (service) => loaded().url(service),

    async probe(exchange, key = '#') {
      const opened = await open();
      probes.add(opened);
      const channel = await opened.createChannel();
      channel.on('error', () => {});
      const probe = await openProbe(channel, exchange, key);
      return {
        ...probe,
        async close() {
          probes.delete(opened);
          await opened.close().catch(() => {});
        },
      };
    },

    queueDepth: (queue) =>
      withChannel(async (channel) => {
        const { messageCount } = await channel.checkQueue(queue);
        return messageCount;
      }).catch((error: { code?: number }) => {
        if (error.code === 404) return undefined;
        throw error;
      }),

    get: (queue, { limit = 1_000, remove = false } = {}) =>
      withChannel(async (channel) => {
        const messages = [];
        while (messages.length < limit) {
          const message = await channel.get(queue);
          if (!message) break;
          messages.push(message);
        }
        // What is not acknowledged returns to its place when the channel is closed.
        if (remove && messages.length) channel.ackAll();
        return messages.map(record);
      }),

    async publish(exchange, key, content, properties = {}) {
      const json = typeof content === 'object' && !Buffer.isBuffer(content);
      const bytes = Buffer.isBuffer(content)
        ? content
        : Buffer.from(json ? JSON.stringify(content) : (content as string));
      publisher ??= openPublisher();
      const channel = await publisher;
      const options = {
        persistent: true,
        ...(json ? { contentType: 'application/json' } : {}),
        ...properties,
      };
      await new Promise<void>((resolve, reject) => {
        channel.publish(exchange, key, bytes, options, (error) => (error ? reject(error) : resolve()));
      });
    },

    ask: (key, data, { timeout = 5_000 } = {}) =>
      withChannel(async (channel) => {
        const replyTo = `operator.reply.${randomUUID()}`;
        const { promise: answer, resolve, reject } = Promise.withResolvers<unknown>();
        await channel.assertQueue(replyTo, { exclusive: true });
        await channel.bindQueue(replyTo, 'rpc', replyTo);
        await channel.consume(
          replyTo,
          (message) => message && resolve(JSON.parse(message.content.toString())),
          { noAck: true },
        );
        channel.on('return', () => reject(new Error(`Nobody serves ${key}.`)));
        const timer = setTimeout(
          () => reject(new Error(`${key} was not answered within ${timeout} ms.`)),
          timeout,
        );
        channel.publish('rpc', key, Buffer.from(JSON.stringify(data)), {
          messageId: randomUUID(),
          replyTo,
          expiration: timeout,
          mandatory: true,
          headers: { 'x-warren-timeout': timeout },
        });
        try {
          return await answer;
        } finally {
          clearTimeout(timer);
          await channel.deleteQueue(replyTo);
        }
      }),

    purge: (queue) => withChannel(async (channel) => void (await channel.purgeQueue(queue))),
    deleteQueue: (queue) => withChannel(async (channel) => void (await channel.deleteQueue(queue))),

    async disconnect() {
      const open = [...probes, ...(connection ? [await connection.catch(() => undefined)] : [])];
      probes.clear();
      connection = undefined;
      publisher = undefined;
      await Promise.all(open.map((one) => one?.close().catch(() => {})));
    },
  };
}
