// Publishes with pipelined confirms: one channel, hundreds of messages in flight. Rascal's publications hold a pooled channel for each
// unconfirmed message, and reach a tenth of the rate.
import type { Channel, ConfirmChannel, Connection, Options } from 'amqplib/callback_api';
import { within } from '../concurrency.ts';
import { socketOf } from '../socket.ts';
import { gatherWrites } from './rascal/gather-writes.ts';

/** ms for the close handshake. */
const CLOSE_TIMEOUT_MS = 1_000;

/** Why a publish failed. Unless it was `refused`, the broker may have the message all the same: repeat it under the same id. */
export class PublishError extends Error {
  override readonly name = 'PublishError';
  /**
   * `lost`: the connection ended. `nacked`: the broker could not store it. `returned`: it was mandatory, and no queue took it.
   * `refused`: the broker closed the channel over one of the messages in flight.
   */
  readonly reason: 'lost' | 'nacked' | 'returned' | 'refused';
  /** AMQP reply code, e.g. 403, 404, 406. */
  readonly code?: number;

  /** Refused because of the message itself: it is too large, or cannot be encoded. */
  get isAboutTheMessage(): boolean {
    return this.reason === 'refused' && (this.code === 406 || this.code === 311);
  }

  constructor(reason: PublishError['reason'], message: string, options?: ErrorOptions & { code?: number }) {
    super(message, options);
    this.reason = reason;
    if (options?.code !== undefined) this.code = options.code;
  }
}

export type Confirmed = (error?: PublishError) => void;

interface Returned {
  fields: { exchange: string; routingKey: string };
  properties: { type?: string };
}

/** A connection with one confirm channel on it. Every publish settles exactly once. */
export class Publisher {
  readonly #connection: Connection;
  readonly #channel: ConfirmChannel;
  /** Of the messages in flight: how to settle each, and its address. */
  readonly #pending = new Map<Confirmed, string>();
  #closed: PublishError | undefined;
  #closing: Promise<void> | undefined;
  #drained: (() => void)[] = [];
  #full = false;
  #blocked = false;
  /** Called once, with the reason, when it can no longer be used. */
  onClose: (reason: PublishError) => void = () => {};
  /** Called when no queue took a mandatory message of this type. With it, that is not an error: the confirm settles the message. */
  onReturn: ((type: string | undefined) => void) | undefined;
  /** The broker has stopped reading from publishers (a memory or disk alarm). */
  onBlocked: (blocked: boolean, reason?: string) => void = () => {};

  static async open(connect: () => Promise<Connection>): Promise<Publisher> {
    const connection = await connect();
    const channel = await new Promise<ConfirmChannel>((resolve, reject) => {
      connection.once('close', () => reject(new PublishError('lost', 'the connection closed')));
      connection.createConfirmChannel((error, opened) => (error ? reject(error) : resolve(opened)));
    }).catch((error) => {
      closeQuietly(connection);
      throw error;
    });
    return new Publisher(connection, channel);
  }

  private constructor(connection: Connection, channel: ConfirmChannel) {
    gatherWrites(socketOf(connection));
    this.#connection = connection;
    this.#channel = channel;
    channel.on('error', (error: Error & { code?: number }) =>
      this.#end(new PublishError('refused', error.message, { cause: error, code: error.code })),
    );
    channel.on('close', () => this.#end(new PublishError('lost', 'the channel closed')));
    channel.on('drain', () => {
      this.#full = false;
      for (const resume of this.#drained.splice(0)) resume();
    });
    // basic.return has no delivery tag: without `onReturn`, every message in flight to this address fails.
    channel.on('return', ({ fields, properties }: Returned) => {
      if (this.onReturn !== undefined) return this.onReturn(properties.type);
      const returned = address(fields.exchange, fields.routingKey);
      for (const [settle, target] of [...this.#pending])
        if (target === returned)
          settle(new PublishError('returned', `no queue at ${returned} took the message`));
    });
    connection.on('error', (cause: Error) => this.#end(new PublishError('lost', cause.message, { cause })));
    connection.on('close', () => this.#end(new PublishError('lost', 'the connection closed')));
    connection.on('blocked', (reason: string) => this.#block(true, reason));
    connection.on('unblocked', () => this.#block(false));
  }

  /** Why it can no longer be used. */
  get closed(): PublishError | undefined {
    return this.#closed;
  }

  /** Writes a message to the socket. `confirmed` is called once: without an error when the broker has stored it. */
  publish(
    exchange: string,
    routingKey: string,
    content: Buffer,
    options: Options.Publish,
    confirmed: Confirmed,
  ): void {
    if (this.#closed !== undefined) {
      confirmed(this.#closed);
      return;
    }
    const settle: Confirmed = (error) => {
      if (this.#pending.delete(settle)) confirmed(error);
    };
    this.#pending.set(settle, address(exchange, routingKey));
    try {
      const room = this.#channel.publish(exchange, routingKey, content, options, (nack: Error | null) => {
        if (nack === null || nack === undefined) return settle();
        // When a channel closes, amqplib fails its messages before it emits the reason, with which `#end` settles them.
        setImmediate(() =>
          settle(
            this.#closed ??
              new PublishError('nacked', 'the broker could not store the message', { cause: nack }),
          ),
        );
      });
      this.#full ||= !room;
    } catch (cause) {
      // A message that amqplib cannot encode is never sent; one for which it has no channel can be repeated.
      const { name, message } = cause as Error;
      settle(
        name === 'IllegalOperationError'
          ? new PublishError('lost', message, { cause })
          : new PublishError('refused', message, { cause, code: 406 }),
      );
    }
  }

  /** Resolves when the socket's buffer has room, or the signal aborts. */
  async room(signal?: AbortSignal): Promise<void> {
    if (!this.#full || this.#closed !== undefined || signal?.aborted) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        signal?.removeEventListener('abort', done);
        resolve();
      };
      signal?.addEventListener('abort', done);
      this.#drained.push(done);
    });
  }

  /** Cuts the connection at once: nothing is sent after this. */
  destroy(): void {
    this.#end(new PublishError('lost', 'closed by this process'));
    this.#closing = undefined;
    this.#cut();
  }

  /** With the close handshake, unless the broker does not respond: one that blocks publishers does not read it. */
  async close(): Promise<void> {
    this.#end(new PublishError('lost', 'closed by this process'));
    await within(CLOSE_TIMEOUT_MS, Promise.resolve(this.#closing));
    this.#cut();
  }

  #block(blocked: boolean, reason?: string): void {
    if (this.#blocked === blocked) return;
    this.#blocked = blocked;
    this.onBlocked(blocked, reason);
  }

  #cut(): void {
    socketOf(this.#connection).destroy();
  }

  #end(reason: PublishError): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    for (const settle of [...this.#pending.keys()]) settle(reason);
    for (const resume of this.#drained.splice(0)) resume();
    // This connection will not see the end of the alarm.
    this.#block(false);
    this.onClose(reason);
    // A channel that the broker closed leaves its connection open.
    this.#closing = closeQuietly(this.#connection);
  }
}

const address = (exchange: string, routingKey: string) => `${exchange}[${routingKey}]`;

/** Closes a channel or a connection; never rejects. amqplib throws if it is closed, and never calls back if the connection is lost. */
export function closeQuietly(closable: {
  close(callback: () => void): void;
  once(event: 'close', listener: () => void): unknown;
}): Promise<void> {
  return new Promise((resolve) => {
    closable.once('close', resolve);
    try {
      closable.close(resolve);
    } catch {
      resolve();
    }
  });
}

/** A connection of amqplib, for example. */
export interface Channels {
  createChannel(done: (error: unknown, channel: Channel) => void): void;
}

/** Calls `use` with a channel of its own. Rejects with amqplib's error, which has the AMQP reply `code`. */
export async function withChannel<T>(
  connection: Channels,
  use: (channel: Channel) => Promise<T>,
): Promise<T> {
  const channel = await new Promise<Channel>((resolve, reject) =>
    connection.createChannel((error, opened) => (error ? reject(error) : resolve(opened))),
  );
  channel.on('error', () => {});
  try {
    return await use(channel);
  } finally {
    await closeQuietly(channel);
  }
}
