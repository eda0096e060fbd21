// What Rascal and amqplib take for granted. Rascal looks into some headers before its caller sees the message, and throws when they are not of
// its own making; the exception closes the connection, and the broker delivers the message again: one bad message would stop
// everybody. And it closes the channel of a session that waited for its last message too long, from a timer: where that channel
// has been closed meanwhile, amqplib throws, nobody catches it, and the process ends; the same when Rascal opens a channel on a
// connection that is lost, and has not told Rascal yet. And amqplib ends a connection over headers
// that it cannot decode (they are nested deeper than its stack, say), with all that is in hand.
import type { Channel } from 'amqplib/callback_api';

interface Dispatching {
  dispatchMessage(
    fields: object,
    message: { properties: { headers?: Record<string, unknown> } } | null,
  ): unknown;
}

type Closing = Pick<Channel, 'close'>;

interface Opening {
  open(done: (error: unknown) => void): unknown;
}

const guarded = new WeakSet<object>();

/** The prototype that has this method, the first time it is asked for. */
function prototypeOf<Prototype>(instance: object, method: keyof Prototype & string): Prototype | undefined {
  let prototype = Object.getPrototypeOf(instance);
  while (!Object.hasOwn(prototype, method)) prototype = Object.getPrototypeOf(prototype);
  const { [method]: found } = prototype;
  if (guarded.has(found)) return undefined;
  return prototype;
}

/**
 * From now on every channel of this channel's amqplib hands out messages without the headers that Rascal trips over, or that
 * cannot be decoded, may be closed when it is closed, and says in its callback that it cannot be opened.
 */
export function patchChannels(channel: Channel): void {
  guardHeaders(channel);
  guardClose(channel);
  guardOpen(channel);
  guardDecoding(channel.connection);
}

interface Receiving {
  /** Received, and not yet decoded. */
  rest: Buffer;
  recvFrame(): object | false;
}

const HEADER_FRAME = 2;
const BASIC_PROPERTIES = 60;

// https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, 2.3.5 and 2.3.5.2
function guardDecoding(connection: object): void {
  const prototype = prototypeOf<Receiving>(connection, 'recvFrame');
  if (prototype === undefined) return;
  const { recvFrame } = prototype;
  prototype.recvFrame = function (this: Receiving) {
    const { rest } = this;
    try {
      return recvFrame.call(this);
    } catch (error) {
      // A frame that was cut off what had been received, and could not be read: without its properties, it is the same message.
      if (this.rest === rest || rest.length === 0 || rest.readUInt8(0) !== HEADER_FRAME) throw error;
      const size = Number(rest.readBigUInt64BE(11));
      return { id: BASIC_PROPERTIES, channel: rest.readUInt16BE(1), size, fields: { headers: {} } };
    }
  };
  guarded.add(prototype.recvFrame);
}

function guardClose(channel: Channel): void {
  const prototype = prototypeOf<Closing>(channel, 'close');
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
  guarded.add(prototype.close);
}

function guardOpen(channel: Channel): void {
  const prototype = prototypeOf<Opening>(channel, 'open');
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
  guarded.add(prototype.open);
}

function guardHeaders(channel: Channel): void {
  const prototype = prototypeOf<Dispatching>(channel, 'dispatchMessage');
  if (prototype === undefined) return;
  const { dispatchMessage } = prototype;
  prototype.dispatchMessage = function (
    this: Channel,
    ...[fields, message]: Parameters<typeof dispatchMessage>
  ) {
    if (message !== null) tidy(message.properties);
    return dispatchMessage.call(this as unknown as Dispatching, fields, message);
  } as Dispatching['dispatchMessage'];
  guarded.add(prototype.dispatchMessage);
}

function tidy(properties: { headers?: Record<string, unknown> }): void {
  // Nothing of ours carries Rascal's own annotations: where they come in, they are somebody else's.
  const { rascal: _, 'x-death': deaths, ...headers } = properties.headers ?? {};
  properties.headers = isDeaths(deaths) ? { ...headers, 'x-death': deaths } : headers;
}

const isDeaths = (value: unknown): boolean =>
  Array.isArray(value) && value.every((death) => typeof death === 'object' && death !== null);
