// Acknowledges by range where it can: one frame for all deliveries up to the last one that is done, and one command for the broker.
import type { Channel } from 'amqplib/callback_api';
import type { RascalMessage, RascalSession } from './rascal.ts';

export class Acks {
  readonly #session: RascalSession;
  readonly #channel: Channel;
  /** Delivery tags that are not settled, in the order of arrival, with whether they are done. */
  readonly #open = new Map<number, boolean>();
  /** A channel numbers what it delivers from 1. */
  #next = 1;

  constructor(session: RascalSession, channel: Channel) {
    this.#session = session;
    this.#channel = channel;
  }

  add({ fields: { deliveryTag } }: RascalMessage): void {
    // One that Rascal has not handed over, yet or ever, ends the range before it.
    for (; this.#next <= deliveryTag; this.#next += 1) this.#open.set(this.#next, false);
  }

  /** Has been settled in another way. */
  remove({ fields }: RascalMessage): void {
    this.#open.delete(fields.deliveryTag);
  }

  ack(messages: readonly RascalMessage[]): void {
    for (const { fields } of messages) this.#open.set(fields.deliveryTag, true);
    let last: number | undefined;
    for (const [tag, isDone] of this.#open) {
      if (!isDone) break;
      last = tag;
      this.#open.delete(tag);
    }
    if (last !== undefined) this.#send(last, true);
    // Behind one that is not done yet: a slow or a failing one holds up nobody's acknowledgement.
    for (const { fields } of messages)
      if (this.#open.delete(fields.deliveryTag)) this.#send(fields.deliveryTag, false);
    for (const { fields } of messages)
      this.#session._decrementUnacknowledgeMessageCount?.(fields.consumerTag);
  }

  #send(deliveryTag: number, allUpTo: boolean): void {
    try {
      // amqplib reads the tag, and nothing else of a message.
      this.#channel.ack({ fields: { deliveryTag } } as Parameters<Channel['ack']>[0], allUpTo);
    } catch {
      // The channel is closed: the broker delivers again what it has no acknowledgement of.
    }
  }
}
