// Rascal looks into some headers before its caller sees the message, and throws when they are not of its own making; the
// exception closes the connection, and the broker delivers the message again. One bad message would stop everybody.
import type { Channel } from 'amqplib/callback_api';

interface Dispatching {
  dispatchMessage(
    fields: object,
    message: { properties: { headers?: Record<string, unknown> } } | null,
  ): unknown;
}

const guarded = new WeakSet<object>();

/** From now on every channel of this channel's amqplib hands out messages without the headers that Rascal trips over. */
export function guardHeaders(channel: Channel): void {
  let prototype = Object.getPrototypeOf(channel);
  while (!Object.hasOwn(prototype, 'dispatchMessage')) prototype = Object.getPrototypeOf(prototype);
  if (guarded.has(prototype)) return;
  guarded.add(prototype);
  const { dispatchMessage } = prototype as Dispatching;
  prototype.dispatchMessage = function (
    this: Channel,
    ...[fields, message]: Parameters<typeof dispatchMessage>
  ) {
    if (message !== null) tidy(message.properties);
    return dispatchMessage.call(this as unknown as Dispatching, fields, message);
  };
}

function tidy(properties: { headers?: Record<string, unknown> }): void {
  // Nothing of ours carries Rascal's own annotations: where they come in, they are somebody else's.
  const { rascal: _, 'x-death': deaths, ...headers } = properties.headers ?? {};
  properties.headers = isDeaths(deaths) ? { ...headers, 'x-death': deaths } : headers;
}

const isDeaths = (value: unknown): boolean =>
  Array.isArray(value) && value.every((death) => typeof death === 'object' && death !== null);
