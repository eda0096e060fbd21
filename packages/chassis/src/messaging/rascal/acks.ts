// Acks by range: one frame settles all deliveries up to the last one that is done (`multiple` of basic.ack). Rascal cannot do it, so
// this uses the session's channel, and keeps Rascal's count of unacknowledged deliveries right.
import type { Channel } from 'amqplib/callback_api';
import type { RascalMessage, RascalSession } from './rascal.ts';

export class Acks {
  readonly #session: RascalSession;
  readonly #channel: Channel;
  /** Delivery tags that are not settled, in the order of arrival, and whether each is done. */
  readonly #open = new Map<number, boolean>();
  /** A channel numbers what it delivers from 1. */
  #next = 1;

  constructor(session: RascalSession, channel: Channel) {
    this.#session = session;
    this.#channel = channel;
  }

  add({ fields: { deliveryTag } }: RascalMessage): void {
    // A delivery that Rascal has not passed on, yet or ever, ends the range before it.
    for (; this.#next <= deliveryTag; this.#next += 1) this.#open.set(this.#next, false);
  }

  /** It was settled in another way. */
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
    // Those behind one that is not done are acked one by one: a slow delivery delays no other ack.
    for (const { fields } of messages)
      if (this.#open.delete(fields.deliveryTag)) this.#send(fields.deliveryTag, false);
    for (const { fields } of messages)
      this.#session._decrementUnacknowledgeMessageCount?.(fields.consumerTag);
  }

  #send(deliveryTag: number, allUpTo: boolean): void {
    try {
      // amqplib reads only the tag of a message.
      this.#channel.ack({ fields: { deliveryTag } } as Parameters<Channel['ack']>[0], allUpTo);
    } catch {
      // The channel is closed: the broker redelivers what is not acked.
    }
  }
}
