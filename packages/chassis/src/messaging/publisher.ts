// Publishing with pipelined confirms: one channel, hundreds of messages in flight. Rascal's pooled publications hold a
// channel for every unconfirmed message, which is a tenth of the speed.
import type { Channel, ConfirmChannel, Connection, Options } from 'amqplib/callback_api';
import { within } from '../concurrency.ts';
import { socketOf } from '../socket.ts';
import { gatherWrites } from './rascal/gather-writes.ts';

/** ms a broker may take to answer a farewell. */
const CLOSE_TIMEOUT_MS = 1_000;

/** Why a publish failed. Unless it says `refused`, the message may be on the broker all the same: repeat it under its id. */
export class PublishError extends Error {
  override readonly name = 'PublishError';
  /**
   * `lost`: the connection went away. `nacked`: the broker could not take it. `returned`: no queue to go to.
   * `refused`: the broker closed the channel over one of the messages in flight.
   */
  readonly reason: 'lost' | 'nacked' | 'returned' | 'refused';
  /** AMQP reply code, e.g. 403, 404, 406. */
  readonly code?: number;

  /** Refused for its own sake: too large, or not to be encoded. */
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
  /** With where each of them goes. */
  readonly #pending = new Map<Confirmed, string>();
  #closed: PublishError | undefined;
  #closing: Promise<void> | undefined;
  #drained: (() => void)[] = [];
  #full = false;
  #blocked = false;
  /** Called once, with the reason, when it can no longer be used. */
  onClose: (reason: PublishError) => void = () => {};
  /** No queue took a mandatory message of this type: with this it is not an error, and its confirm settles it. */
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
    // Without `onReturn`: it need have no id of its own; but where one finds no queue, the others that go there find none either.
    channel.on('return', ({ fields, properties }: Returned) => {
      if (this.onReturn !== undefined) return this.onReturn(properties.type);
      const there = address(fields.exchange, fields.routingKey);
      for (const [settle, where] of [...this.#pending])
        if (where === there) settle(new PublishError('returned', `no queue at ${there} took the message`));
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

  /** Unconfirmed messages. */
  get inFlight(): number {
    return this.#pending.size;
  }

  /** Hands a message to the socket. `confirmed` is called once: without an error when the broker has it safe. */
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
        // On a close, amqplib fails what is pending before it says why: #end settles those with the reason.
        setImmediate(() =>
          settle(
            this.#closed ??
              new PublishError('nacked', 'the broker could not take the message', { cause: nack }),
          ),
        );
      });
      this.#full ||= !room;
    } catch (cause) {
      // What amqplib cannot encode has not left this process, and never will; what it has no channel for, may.
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

  /** At once, without a farewell: nothing may leave after this. */
  destroy(): void {
    this.#end(new PublishError('lost', 'closed by this process'));
    this.#closing = undefined;
    this.#cut();
  }

  /** In order, unless the broker does not answer: one that blocks publishers does not read their farewells either. */
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
    // Nobody will hear of the end of the alarm here.
    this.#block(false);
    this.onClose(reason);
    // A channel that the broker closed leaves its connection open.
    this.#closing = closeQuietly(this.#connection);
  }
}

const address = (exchange: string, routingKey: string) => `${exchange}[${routingKey}]`;

/** amqplib throws when what is to be closed is closed, and forgets who waits for a farewell when its connection is lost. */
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

/** What opens channels: a connection of amqplib, for one. */
export interface Channels {
  createChannel(done: (error: unknown, channel: Channel) => void): void;
}

/** Declares and inspects through a plain channel; the promise rejects with amqplib's error, which has the reply `code`. */
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
