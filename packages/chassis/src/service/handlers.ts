// The types of a service's handlers and methods, which come from its broker.ts: one for each subscription, none more.
import type { CloudEvent, EventDefinition, MethodDefinition } from '@warren/events';
import type { ReadContext } from '../http/routes.ts';
import { type BrokerDefinition, type EventQueue, requestQueues, versionsOf } from '../messaging/broker.ts';
import type { BoundHandler, Handler } from '../messaging/consumer.ts';
import type { Served } from '../rpc/serve.ts';

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

/** Handles one request over the broker. It only reads; it throws a problem as a route does, and the problem travels. */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export type MethodHandler<Request extends object, Response extends object, Schema = any, Config = any> = (
  request: Request,
  context: ReadContext<Schema, Config>,
) => Promise<Response>;

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

/**
 * The methods of a service: for each that its broker.ts has in its queue of requests one, by its routing key.
 * @example
 * export const methods: Methods<typeof broker, OrderSchema> = {
 *   'order.list.v1': async ({ userId }, { database }) => ({ items: await latestOrders(database, userId, 100) }),
 * };
 */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export type Methods<Broker, Schema = any, Config = any> =
  Broker extends BrokerDefinition<string, infer Declared>
    ? MethodsIn<Extract<Declared[keyof Declared], { methods: object }>, Schema, Config>
    : object;

type MethodsIn<Queue extends { methods: object }, Schema, Config> = [Queue] extends [never]
  ? object
  : {
      readonly [Key in keyof Queue['methods']]: Queue['methods'][Key] extends MethodDefinition<
        infer Request,
        infer Response
      >
        ? MethodHandler<Request, Response, Schema, Config>
        : never;
    };

/** What `Handlers` of any broker.ts is at run time. */
export type AnyHandlers = Readonly<Record<string, EventHandler | readonly EventHandler[]>>;
// biome-ignore lint/suspicious/noExplicitAny: methods of different requests stand in one object
export type AnyMethods = Readonly<Record<string, MethodHandler<any, any>>>;

/** The handlers of one queue, each with the version of the event that it handles. */
export function bindHandlers(queue: EventQueue, handlers: AnyHandlers[string] | undefined): BoundHandler[] {
  const ofVersions = [handlers].flat();
  return versionsOf(queue).map((event, index) => {
    const handler = ofVersions[index] as EventHandler;
    return typeof handler === 'function' ? { event, handle: handler } : { event, ...handler };
  });
}

/** The methods of a service, each with its handler. */
export const bindMethods = (broker: BrokerDefinition | undefined, handlers: AnyMethods): Served[] =>
  requestQueues(broker).flatMap(([, { methods }]) =>
    Object.entries(methods).map(([key, method]) => ({ method, handle: handlers[key] as AnyMethods[string] })),
  );
