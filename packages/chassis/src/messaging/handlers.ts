// The handlers of a service's events. Their types come from its broker.ts: one for each queue, none more.
import type { AnyEvent, CloudEvent, EventDefinition } from '@warren/events';
import type { WorkContext } from '../context.ts';
import { WarrenError } from '../errors.ts';
import { type BrokerDefinition, type EventQueue, versionsOf } from './broker.ts';

/**
 * Handles one event in a transaction: its effect, the events it emits and the tasks it schedules commit together, once per
 * event, however often it is delivered. It does database work only; an external side effect is scheduled as a task. The
 * transaction may be shared with other events, and is redone without them if one of them fails: no savepoints, no `set local`.
 * Events may arrive in any order. An error means: roll back, and retry later.
 */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export type Handler<Data extends object, Schema = any, Config = any> = (
  event: CloudEvent<Data>,
  work: WorkContext<Schema, Config>,
) => Promise<void>;

/** Handles one event; with `key` where it locks something else than the event's subject. */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export type EventHandler<Data extends object = any, Schema = any, Config = any> =
  | Handler<Data, Schema, Config>
  | {
      /**
       * What the handler locks. Within one transaction `for update` does not separate two handlers, so those of one key run one
       * after the other, and only those of different keys at once.
       */
      readonly key: (event: CloudEvent<Data>) => string;
      readonly handle: Handler<Data, Schema, Config>;
    };

/** Of one version of an event, or of several in the order of broker.ts. */
type HandlerOf<Event, Schema, Config> =
  Event extends EventDefinition<infer Data>
    ? EventHandler<Data, Schema, Config>
    : { readonly [Index in keyof Event]: HandlerOf<Event[Index], Schema, Config> };

/**
 * The handlers of a service: for each queue of events in its broker.ts one, by the name of the queue.
 * @example
 * export const handlers: Handlers<typeof broker, OrderSchema, OrderConfig> = {
 *   'order.user.created': ({ data }, work) => welcomeUser(work, data.userId),
 *   'order.payment.failed': { key: ({ data }) => data.orderId, handle: ({ data }, work) => cancel(work, data) },
 * };
 */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export type Handlers<Broker, Schema = any, Config = any> =
  Broker extends BrokerDefinition<string, infer Declared>
    ? {
        readonly [Queue in keyof Declared as Declared[Queue] extends { event: unknown }
          ? Queue
          : never]: Declared[Queue] extends { event: infer Event } ? HandlerOf<Event, Schema, Config> : never;
      }
    : object;

/** What `Handlers` of any broker.ts is at run time. */
export type AnyHandlers = Readonly<Record<string, EventHandler | readonly EventHandler[]>>;

/** A handler and the event that it handles. */
export interface BoundHandler {
  event: AnyEvent;
  // biome-ignore lint/suspicious/noExplicitAny: handlers of different events stand in one list
  handle: Handler<any, any, any>;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  key?: (event: CloudEvent<any>) => string;
}

/**
 * The handlers of one queue, each with the version of the event that it handles.
 * @throws {WarrenError} `invalid_service`, when a version has none
 */
export function bindHandlers(queue: EventQueue, handlers: AnyHandlers[string] | undefined): BoundHandler[] {
  const ofVersions = [handlers].flat();
  return versionsOf(queue).map((event, index) => {
    const handler = ofVersions[index];
    // The compiler refuses it, but Node.js runs what was not compiled.
    if (handler === undefined)
      throw new WarrenError('invalid_service', `handlers.ts has no handler for ${event.routingKey}`);
    return typeof handler === 'function' ? { event, handle: handler } : { event, ...handler };
  });
}
