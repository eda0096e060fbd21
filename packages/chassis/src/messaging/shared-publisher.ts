import type { Connection } from 'amqplib/callback_api';
import { Publisher } from './publisher.ts';

/** One connection to publish on: opened by the first user, and opened again after it was lost. */
export class SharedPublisher {
  readonly #connect: () => Promise<Connection>;
  #publisher: Promise<Publisher> | undefined;
  #closed = false;
  /** The broker has stopped reading from publishers. */
  blocked = false;
  /** Called when `blocked` becomes true. */
  onBlocked: () => void = () => {};

  constructor(connect: () => Promise<Connection>) {
    this.#connect = connect;
  }

  /** @throws when the broker is unavailable, or after `close` */
  open(): Promise<Publisher> {
    this.#publisher ??= this.#open();
    return this.#publisher;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const publisher = await this.#publisher?.catch(() => undefined);
    await publisher?.close();
  }

  async #open(): Promise<Publisher> {
    try {
      if (this.#closed) throw new Error('the publisher is closed');
      const publisher = await Publisher.open(this.#connect);
      publisher.onClose = () => {
        this.#publisher = undefined;
      };
      publisher.onBlocked = (blocked) => {
        this.blocked = blocked;
        if (blocked) this.onBlocked();
      };
      if (publisher.closed) throw publisher.closed;
      return publisher;
    } catch (error) {
      this.#publisher = undefined;
      throw error;
    }
  }
}
