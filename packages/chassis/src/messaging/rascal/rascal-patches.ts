// Patches of Rascal 21.0.1. Each says what breaks without it, and names the upstream issue if we know one.
import { createRequire } from 'node:module';
import type { Channel } from 'amqplib/callback_api';
import { socketOf } from '../../socket.ts';
import { gatherWrites } from './gather-writes.ts';
import type { Components, Rascal, RascalVhost } from './rascal.ts';

const require = createRequire(import.meta.url);
const requireOfRascal = createRequire(require.resolve('rascal'));

/** Rascal, patched. The first two patches replace modules that Rascal reads while it loads. */
function loadRascal(): Rascal {
  replaceXRegExp();
  exposeChannels();
  const rascal = require('rascal') as Rascal;
  exposeVhosts();
  return rascal;
}

/**
 * Without it: XRegExp and its Unicode tables take a fifth of an idle service's memory. Rascal needs it for named groups in two
 * patterns, which RegExp has had since 2018. No upstream issue known.
 */
function replaceXRegExp(): void {
  try {
    const path = requireOfRascal.resolve('xregexp');
    const XRegExp = Object.assign((pattern: string) => new RegExp(pattern), {
      exec: (text: string, pattern: RegExp) => pattern.exec(text),
    });
    require.cache[path] ??= { id: path, filename: path, loaded: true, exports: XRegExp } as NodeJS.Module;
  } catch {
    // This Rascal does not depend on it.
  }
}

/**
 * Without it: a connection that fails while Rascal opens the next one emits `error` without a listener, which ends the process.
 * Rascal returns the broker only when all connections are open: onebeyond/rascal#106; the crash: onebeyond/rascal#135.
 */
function exposeVhosts(): void {
  const module = requireOfRascal('./lib/amqp/Vhost') as {
    create(
      config: object,
      components: Components,
      done: (error: Error | null | undefined, vhost: RascalVhost) => void,
    ): void;
  };
  const { create } = module;
  module.create = (config, components, done) =>
    create(config, components, (error, vhost) => {
      if (!error) components.onVhost?.(vhost);
      done(error, vhost);
    });
}

/**
 * Without it: every message needs an ack frame of its own, because Rascal acks either one message or all of a channel, those
 * in progress included (onebeyond/rascal#212); and a session does not show the channel to ack a range on.
 */
function exposeChannels(): void {
  const path = requireOfRascal.resolve('./lib/amqp/SubscriberSession');
  const Session = require(path) as new (...settings: unknown[]) => object;
  const Subclass = class extends Session {
    declare channel: Channel;
    declare _open: (channel: Channel, ...more: unknown[]) => void;

    constructor(...settings: unknown[]) {
      super(...settings);
      const open = this._open;
      this._open = (channel, ...more) => {
        this.channel = channel;
        gatherWrites(socketOf(channel));
        open.call(this, channel, ...more);
      };
    }
  };
  require.cache[path] = { ...require.cache[path], exports: Subclass } as NodeJS.Module;
}

export const rascal: Rascal = loadRascal();
