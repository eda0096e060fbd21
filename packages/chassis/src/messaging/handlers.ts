// How a service says which events it consumes, and what it does with them.
import type { AnyEvent, CloudEvent, EventDefinition } from '@warren/events';
import type { WorkContext } from '../context.ts';

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

export interface Subscription {
  event: AnyEvent;
  // biome-ignore lint/suspicious/noExplicitAny: handlers of different events stand in one list
  handle: Handler<any, any, any>;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  key?: (event: CloudEvent<any>) => string;
}

export interface SubscriptionOptions<Data extends object> {
  /**
   * What the handler locks. `for update` does not separate two handlers in one transaction, so events of one key are handled one
   * after the other, and only those of different keys concurrently. Default: the event's subject.
   */
  key?: (event: CloudEvent<Data>) => string;
}

/**
 * Names the handler of an event.
 * @example handlers: [on(userCreated, openSession), on(paymentProcessed, markPaid, { key: ({ data }) => data.orderId })]
 */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export function on<Data extends object, Schema = any, Config = any>(
  event: EventDefinition<Data>,
  handle: Handler<Data, Schema, Config>,
  options: SubscriptionOptions<Data> = {},
): Subscription {
  return { event, handle, ...options };
}
