import { randomUUID } from 'node:crypto';
import { type Channel, type ChannelModel, type ConfirmChannel, connect, type Options } from 'amqplib';
import type { Loaded } from './definitions.ts';
import { openProbe, type Probe, type Recorded, record } from './probe.ts';

/** What tests can read and do on one vhost, as the operator. */
export interface Vhost {
  vhost: string;
  /** Of the operator, who may do all on this vhost. */
  adminUrl: string;
  /** The operator's user: what services name in `OPERATORS` to accept what it publishes. */
  operator: string;
  /** Of a service's restricted user. */
  url(service: string): string;
  /** Records what is published to `exchange` under `key` (a pattern of topic exchanges, default `#`). */
  probe(exchange: string, key?: string): Promise<Probe>;
  /** Messages that are ready, or undefined when there is no such queue. Unacknowledged ones are not counted. */
  queueDepth(queue: string): Promise<number | undefined>;
  /** The messages of a queue, oldest first. They stay in it, unless `remove` is set. */
  get(queue: string, options?: { limit?: number; remove?: boolean }): Promise<Recorded[]>;
  /**
   * Publishes, and waits for the confirm. An object goes out as JSON.
   * @param as the service whose user publishes it; default: of an event the one that its routing key begins with, of anything
   * else the operator
   */
  publish(
    exchange: string,
    key: string,
    content: Buffer | string | object,
    properties?: Options.Publish,
    as?: string,
  ): Promise<void>;
  /**
   * Sends a request over the exchange `rpc`, as this service, and returns the body of the reply, which may be a problem.
   * @param as a caller that the method's contract names
   * @param key its routing key, e.g. `user.find.v1`
   * @param options timeout in ms, default 5,000; headers besides those of every request
   * @throws if no service handles the method, or no reply arrives in time
   */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into it as it likes
  ask(as: string, key: string, data: unknown, options?: AskOptions): Promise<any>;
  purge(queue: string): Promise<void>;
  deleteQueue(queue: string): Promise<void>;
}

interface AskOptions {
  timeout?: number;
  headers?: Record<string, unknown>;
}

/** A client of the operator, for a vhost into which definitions were loaded. */
export function adminClient(loaded: () => Loaded): Vhost & { disconnect(): Promise<void> } {
  /** By user; opened at the first use, and again once it was lost. */
  const connections = new Map<string, Promise<ChannelModel>>();
  const publishers = new Map<string, Promise<ConfirmChannel>>();
  const probes = new Set<ChannelModel>();

  const open = async (url = loaded().operatorUrl) => {
    // With Nagle's algorithm on, as amqplib leaves it, every small message waits for the ACK of the one before.
    const opened = await connect(url, { noDelay: true });
    opened.on('error', () => {});
    return opened;
  };

  const connected = (as?: string): Promise<ChannelModel> => {
    const user = as ?? '';
    const forget = () => {
      connections.delete(user);
      publishers.delete(user);
    };
    const connection =
      connections.get(user) ??
      Promise.resolve(as === undefined ? undefined : loaded().makeUrl(as))
        .then(open)
        .then((opened) => {
          opened.once('close', forget);
          return opened;
        });
    connections.set(user, connection);
    return connection.catch((error) => {
      forget();
      throw error;
    });
  };

  /** One channel a user for all that is published: it keeps the order of the calls. A refusal closes it. */
  const openPublisher = async (as?: string): Promise<ConfirmChannel> => {
    try {
      const channel = await (await connected(as)).createConfirmChannel();
      channel.on('error', () => {});
      channel.once('close', () => publishers.delete(as ?? ''));
      return channel;
    } catch (error) {
      publishers.delete(as ?? '');
      throw error;
    }
  };

  /** One channel for each call: a refusal closes it, and does not affect the next call. */
  const withChannel = async <T>(use: (channel: Channel) => Promise<T>, as?: string): Promise<T> => {
    const channel = await (await connected(as)).createChannel();
    channel.on('error', () => {});
    try {
      return await use(channel);
    } finally {
      await channel.close().catch(() => {});
    }
  };

  const userOf = (as?: string) => (as === undefined ? loaded().operator : `${loaded().vhost}.${as}`);

  return {
    get vhost() {
      return loaded().vhost;
    },
    get adminUrl() {
      return loaded().operatorUrl;
    },
    get operator() {
      return loaded().operator;
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

    async publish(exchange, key, content, properties = {}, as = producerOf(exchange, key)) {
      const json = typeof content === 'object' && !Buffer.isBuffer(content);
      const bytes = Buffer.isBuffer(content)
        ? content
        : Buffer.from(json ? JSON.stringify(content) : (content as string));
      const opened = publishers.get(as ?? '') ?? openPublisher(as);
      publishers.set(as ?? '', opened);
      const channel = await opened;
      const options = {
        persistent: true,
        userId: userOf(as),
        ...(json ? { contentType: 'application/json' } : {}),
        ...properties,
      };
      await new Promise<void>((resolve, reject) => {
        channel.publish(exchange, key, bytes, options, (error) => (error ? reject(error) : resolve()));
      });
    },

    ask: (as, key, data, { timeout = 5_000, headers = {} } = {}) =>
      withChannel(async (channel) => {
        const replyTo = `${as}.reply.${randomUUID()}`;
        const { promise: answer, resolve, reject } = Promise.withResolvers<unknown>();
        await channel.assertQueue(replyTo, { exclusive: true });
        await channel.bindQueue(replyTo, 'rpc', replyTo);
        await channel.consume(
          replyTo,
          (message) => message && resolve(JSON.parse(message.content.toString())),
          { noAck: true },
        );
        channel.on('return', () => reject(new Error(`No service handles ${key}.`)));
        const timer = setTimeout(
          () => reject(new Error(`No reply to ${key} within ${timeout} ms.`)),
          timeout,
        );
        channel.publish('rpc', key, Buffer.from(JSON.stringify(data)), {
          messageId: randomUUID(),
          userId: userOf(as),
          replyTo,
          expiration: timeout,
          mandatory: true,
          headers: { 'x-warren-timeout': timeout, ...headers },
        });
        try {
          return await answer;
        } finally {
          clearTimeout(timer);
          await channel.deleteQueue(replyTo);
        }
      }, as),

    purge: (queue) => withChannel(async (channel) => void (await channel.purgeQueue(queue))),
    deleteQueue: (queue) => withChannel(async (channel) => void (await channel.deleteQueue(queue))),

    async disconnect() {
      const users = [...connections.values()].map((each) => each.catch(() => undefined));
      const open = [...probes, ...(await Promise.all(users))];
      probes.clear();
      connections.clear();
      publishers.clear();
      await Promise.all(open.map((one) => one?.close().catch(() => {})));
    },
  };
}

/** The service whose event it is; nothing where its routing key names none. */
const producerOf = (exchange: string, key: string): string | undefined =>
  exchange === 'events' ? /^[a-z][a-z0-9-]*(?=\.)/.exec(key)?.[0] : undefined;
