// Patches of amqplib 2.3.1, of its prototypes, so that they hold for Rascal's channels, too. Each says what breaks without it, and
// names the upstream issue if we know one.
import type { Channel } from 'amqplib/callback_api';

const patched = new WeakSet<object>();

/** Patches the prototypes of this channel and its connection: from now on the patches hold for all channels of this amqplib. */
export function patchChannels(channel: Channel): void {
  dropHarmfulHeaders(channel);
  tolerateSecondClose(channel);
  reportFailedOpen(channel);
  tolerateUndecodableHeaders(channel.connection);
}

/** The prototype that has this method; undefined when it is patched already. */
function unpatched<Prototype>(instance: object, method: keyof Prototype & string): Prototype | undefined {
  let prototype = Object.getPrototypeOf(instance);
  while (!Object.hasOwn(prototype, method)) prototype = Object.getPrototypeOf(prototype);
  return patched.has(prototype[method]) ? undefined : prototype;
}

interface Receiving {
  /** Bytes that were received and are not decoded yet. */
  rest: Buffer;
  recvFrame(): object | false;
}

const HEADER_FRAME = 2;
const BASIC_PROPERTIES = 60;

/**
 * Without it: headers that amqplib cannot decode (nested deeper than its stack) end the connection; the broker redelivers the
 * message, and it ends the next one. The message is delivered without its properties instead. No upstream issue known.
 * Layout of a header frame: https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, 2.3.5 and 2.3.5.2
 */
function tolerateUndecodableHeaders(connection: object): void {
  const prototype = unpatched<Receiving>(connection, 'recvFrame');
  if (prototype === undefined) return;
  const { recvFrame } = prototype;
  prototype.recvFrame = function (this: Receiving) {
    const { rest } = this;
    try {
      return recvFrame.call(this);
    } catch (error) {
      // amqplib had taken a whole frame off `rest` before it failed to decode it, or the error is another one.
      if (this.rest === rest || rest.length === 0 || rest.readUInt8(0) !== HEADER_FRAME) throw error;
      const size = Number(rest.readBigUInt64BE(11));
      return { id: BASIC_PROPERTIES, channel: rest.readUInt16BE(1), size, fields: { headers: {} } };
    }
  };
  patched.add(prototype.recvFrame);
}

type Closing = Pick<Channel, 'close'>;

/**
 * Without it: Rascal closes the channel of a session whose last delivery was not settled in time, from a timer. If the channel
 * has been closed meanwhile, amqplib throws (amqp-node/amqplib#257), nothing catches it, and the process ends.
 */
function tolerateSecondClose(channel: Channel): void {
  const prototype = unpatched<Closing>(channel, 'close');
  if (prototype === undefined) return;
  const { close } = prototype;
  prototype.close = function (this: Channel, done) {
    try {
      close.call(this, done);
    } catch (error) {
      if ((error as Error).name !== 'IllegalOperationError') throw error;
      (done as (() => void) | undefined)?.();
    }
  };
  patched.add(prototype.close);
}

interface Opening {
  open(done: (error: unknown) => void): unknown;
}

/**
 * Without it: Rascal opens a channel on a connection that is lost, before it knows that; amqplib throws instead of passing the
 * error to the callback, and the process ends. No upstream issue known.
 */
function reportFailedOpen(channel: Channel): void {
  const prototype = unpatched<Opening>(channel, 'open');
  if (prototype === undefined) return;
  const { open } = prototype;
  prototype.open = function (this: Opening, done) {
    try {
      return open.call(this, done);
    } catch (error) {
      if ((error as Error).name !== 'IllegalOperationError') throw error;
      return done(error);
    }
  };
  patched.add(prototype.open);
}

interface Dispatching {
  dispatchMessage(
    fields: object,
    message: { properties: { headers?: Record<string, unknown> } } | null,
  ): unknown;
}

/**
 * Without it: Rascal reads its own header `rascal` and `x-death` before the caller sees the message, and throws when they have
 * another shape; the exception ends the connection, and the broker redelivers the message. No upstream issue known.
 */
function dropHarmfulHeaders(channel: Channel): void {
  const prototype = unpatched<Dispatching>(channel, 'dispatchMessage');
  if (prototype === undefined) return;
  const { dispatchMessage } = prototype;
  prototype.dispatchMessage = function (
    this: Channel,
    ...[fields, message]: Parameters<typeof dispatchMessage>
  ) {
    if (message !== null) dropFrom(message.properties);
    return dispatchMessage.call(this as unknown as Dispatching, fields, message);
  } as Dispatching['dispatchMessage'];
  patched.add(prototype.dispatchMessage);
}

function dropFrom(properties: { headers?: Record<string, unknown> }): void {
  // No message of ours has a header `rascal`: one that arrives with it got it from another client.
  const { rascal: _, 'x-death': deaths, ...headers } = properties.headers ?? {};
  properties.headers = isDeaths(deaths) ? { ...headers, 'x-death': deaths } : headers;
}

const isDeaths = (value: unknown): boolean =>
  Array.isArray(value) && value.every((death) => typeof death === 'object' && death !== null);
