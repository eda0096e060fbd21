// The kit's connections to the broker: as an administrator who watches, and as a user who may publish under every name.
import { randomBytes } from 'node:crypto';
import { type Channel, type ChannelModel, type ConfirmChannel, connect, type Options } from 'amqplib';
import { type Management, managementOf } from '../rabbitmq/management.ts';
import { type Recorded, record } from '../rabbitmq/probe.ts';
import type { Draft } from './draft.ts';
import { CheckError, ServiceError } from './options.ts';

/** What arrives at a queue of the kit, or at a dead-letter queue. */
export interface Watch {
  messages: readonly Recorded[];
  /** Those of this message. */
  of(draft: Draft): Recorded[];
}

export interface Wire {
  vhost: string;
  /** Host, vhost and version. */
  description: string;
  management: Management;
  /** Publishes an event, under the `user-id` of its properties or under none, and waits for the confirm. */
  publish(exchange: string, key: string, draft: Pick<Draft, 'content' | 'properties'>): Promise<void>;
  /** Copies of what is published to `exchange` with one of the keys. @param queue a name for the kit's own queue */
  tap(exchange: string, keys: readonly string[], queue?: string): Promise<Watch>;
  /** Everything in a queue. The messages return to it at the end, except those that `remove` names. */
  watchQueue(queue: string, remove: (message: Recorded) => boolean): Promise<Watch>;
  /** Ready messages and consumers; undefined if the queue does not exist. */
  queue(name: string): Promise<{ ready: number; consumers: number } | undefined>;
  close(): Promise<void>;
}

export interface WireOptions {
  brokerUrl: string;
  managementUrl?: string | undefined;
}

/** @throws {CheckError} if the broker is unavailable, or the user may not create users */
export async function openWire({ brokerUrl, managementUrl }: WireOptions): Promise<Wire> {
  const url = brokerAddress(brokerUrl);
  const vhost = decodeURIComponent(url.pathname.slice(1)) || '/';
  const management = managementOf({ url: url.href, managementUrl: managementUrl ?? beside(url) });
  const admin = await open(url);
  const closing: (() => Promise<unknown>)[] = [() => admin.close()];
  const close = async () => {
    for (const each of closing.reverse()) await each().catch(() => {});
  };
  try {
    const impersonator = await createImpersonator(management, vhost);
    closing.push(impersonator.remove);
    const publisher = await open(withUser(url, impersonator));
    closing.push(() => publisher.close());
    const overview = await management.request<{ rabbitmq_version: string }>('GET', 'overview');
    return {
      vhost,
      description: `${url.host}${url.pathname} (RabbitMQ ${overview?.rabbitmq_version})`,
      management,
      publish: publisherOn(await publisher.createConfirmChannel()),
      tap: (exchange, keys, queue) => tap(admin, exchange, keys, queue),
      watchQueue: (queue, remove) => watchQueue(admin, queue, remove, closing),
      queue: (name) => countsOf(admin, name),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function brokerAddress(text: string): URL {
  const url = URL.parse(text);
  if (url === null || !/^amqps?:$/.test(url.protocol))
    throw new CheckError('the broker has to be a URL such as amqp://guest:guest@localhost:5672/');
  return url;
}

const beside = ({ protocol, hostname }: URL) =>
  `${protocol === 'amqps:' ? 'https' : 'http'}://${hostname}:15672`;

function withUser(at: URL, { name, password }: { name: string; password: string }): URL {
  const url = new URL(at);
  url.username = encodeURIComponent(name);
  url.password = password;
  return url;
}

async function open(url: URL): Promise<ChannelModel> {
  try {
    const connection = await connect(url.href, { noDelay: true, timeout: 10_000 });
    connection.on('error', () => {});
    return connection;
  } catch (cause) {
    throw new CheckError(`cannot connect to the broker at ${url.host}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/**
 * A user for the time of the check, with the tag that allows any `user-id`. It may publish and nothing else.
 * https://www.rabbitmq.com/docs/validated-user-id
 */
async function createImpersonator(management: Management, vhost: string) {
  const name = `contract-kit-${randomBytes(6).toString('hex')}`;
  const password = randomBytes(16).toString('hex');
  const remove = management.deleteLater(`users/${name}`);
  try {
    await management.request('PUT', `users/${name}`, { password, tags: 'impersonator' });
    const permission = { configure: '^$', write: '.*', read: '^$' };
    await management.request('PUT', `permissions/${encodeURIComponent(vhost)}/${name}`, permission);
  } catch (cause) {
    await remove().catch(() => {});
    const { message } = cause as Error;
    throw new CheckError(
      `cannot create the user that publishes the messages; the broker's URL has to be that of an administrator: ${message}`,
      { cause },
    );
  }
  return { name, password, remove };
}

function publisherOn(channel: ConfirmChannel): Wire['publish'] {
  const returned = new Set<string>();
  channel.on('return', ({ properties }) => returned.add(properties.messageId));
  return (exchange, key, { content, properties }) =>
    new Promise((resolve, reject) => {
      const options: Options.Publish = { mandatory: true, ...properties };
      channel.publish(exchange, key, content, options, (error) => {
        const isReturned = returned.delete(properties.messageId as string);
        if (error) return reject(new CheckError(`the broker refused a message: ${(error as Error).message}`));
        if (isReturned) return reject(new ServiceError(`no queue is bound to ${exchange} by ${key}`));
        resolve();
      });
    });
}

async function tap(
  admin: ChannelModel,
  exchange: string,
  keys: readonly string[],
  name = '',
): Promise<Watch> {
  const channel = await channelOf(admin);
  const { queue } = await channel.assertQueue(name, { exclusive: true, durable: false });
  for (const key of keys) await channel.bindQueue(queue, exchange, key);
  const messages: Recorded[] = [];
  await channel.consume(queue, (message) => message && messages.push(record(message)), { noAck: true });
  return watchOf(messages);
}

/** Holds all messages unacknowledged, so that others of the queue keep their place. */
async function watchQueue(
  admin: ChannelModel,
  queue: string,
  remove: (message: Recorded) => boolean,
  closing: (() => Promise<unknown>)[],
): Promise<Watch> {
  const channel = await channelOf(admin);
  const messages: Recorded[] = [];
  await channel.consume(queue, (message) => {
    if (message === null) return;
    const recorded = record(message);
    messages.push(recorded);
    if (remove(recorded)) channel.ack(message);
  });
  closing.push(() => channel.close());
  return watchOf(messages);
}

const watchOf = (messages: Recorded[]): Watch => ({
  messages,
  of: ({ messageId, content }) =>
    messages.filter((each) => each.properties.messageId === messageId || each.content.equals(content)),
});

async function channelOf(admin: ChannelModel): Promise<Channel> {
  const channel = await admin.createChannel();
  channel.on('error', () => {});
  return channel;
}

/** On a channel of its own: the broker closes it if the queue does not exist. */
async function countsOf(admin: ChannelModel, name: string) {
  const channel = await channelOf(admin);
  try {
    const { messageCount, consumerCount } = await channel.checkQueue(name);
    await channel.close();
    return { ready: messageCount, consumers: consumerCount };
  } catch (error) {
    if ((error as { code?: number }).code === 404) return undefined;
    throw error;
  }
}
