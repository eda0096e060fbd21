import type { Channel, ConsumeMessage } from 'amqplib';
import { patienceMs } from '../eventually.ts';

/** One message as it went over the wire. */
export interface Recorded {
  /** The parsed content, or undefined when it is not JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into it as it likes
  body: any;
  content: Buffer;
  routingKey: string;
  exchange: string;
  properties: ConsumeMessage['properties'];
  fields: ConsumeMessage['fields'];
  /** When it arrived here, in ms since the epoch. */
  at: number;
}

export interface Fact {
  /** CloudEvents type, e.g. `user.created`. */
  type?: string;
  /** How many of them. Default 1. */
  count?: number;
}

export interface Probe {
  /** All that has arrived so far, in order. */
  events: Recorded[];
  /**
   * Waits until the fact holds, and returns the messages that make it.
   *
   * @param fact what must have arrived, or a function that says so of one message
   * @param options timeout in ms, default as that of `eventually`
   * @throws when it does not hold in time, with a list of what did arrive
   */
  waitFor(
    fact: Fact | ((event: Recorded) => boolean),
    options?: { timeout?: number; count?: number },
  ): Promise<Recorded[]>;
  /** Called at every message from now on. */
  onEvent(listener: (event: Recorded) => void): void;
  close(): Promise<void>;
  /** Resolves when it has been closed, or lost with the broker. */
  ended: Promise<void>;
}

/** Records what is routed to `key` of `exchange`, by an exclusive queue of its own. */
export async function openProbe(channel: Channel, exchange: string, key: string): Promise<Probe> {
  const events: Recorded[] = [];
  const listeners = new Set<(event: Recorded) => void>();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, exchange, key);
  const { consumerTag } = await channel.consume(
    queue,
    (message) => {
      if (!message) return;
      const event = record(message);
      events.push(event);
      for (const listener of [...listeners]) listener(event);
    },
    { noAck: true },
  );

  const ended = new Promise<void>((resolve) => channel.once('close', resolve));

  return {
    events,
    ended,
    onEvent: (listener) => void listeners.add(listener),
    waitFor(fact, options = {}) {
      const matches =
        typeof fact === 'function' ? fact : (event: Recorded) => !fact.type || typeOf(event) === fact.type;
      const count = (typeof fact === 'function' ? undefined : fact.count) ?? options.count ?? 1;
      const { timeout = patienceMs() } = options;
      return new Promise((resolve, reject) => {
        const found = () => events.filter(matches);
        const look = () => {
          const matching = found();
          if (matching.length < count) return false;
          settle();
          resolve(matching);
          return true;
        };
        const timer = setTimeout(() => {
          settle();
          const seen = events.map((event) => typeOf(event) ?? event.routingKey).slice(-20);
          reject(
            new Error(
              `${found().length} of ${count} awaited messages came to ${exchange} within ${timeout} ms; last of ${events.length} that came: ${seen.join(', ') || '(none)'}`,
            ),
          );
        }, timeout);
        const settle = () => {
          clearTimeout(timer);
          listeners.delete(look);
        };
        if (!look()) listeners.add(look);
      });
    },
    async close() {
      await channel.cancel(consumerTag);
      await channel.deleteQueue(queue);
    },
  };
}

export function record(message: { content: Buffer; fields: unknown; properties: unknown }): Recorded {
  const { content, fields, properties } = message as ConsumeMessage;
  let body: unknown;
  try {
    body = JSON.parse(content.toString());
  } catch {}
  return {
    body,
    content,
    routingKey: fields.routingKey,
    exchange: fields.exchange,
    properties,
    fields,
    at: Date.now(),
  };
}

const typeOf = (event: Recorded): string | undefined => event.body?.type ?? event.properties.type;
