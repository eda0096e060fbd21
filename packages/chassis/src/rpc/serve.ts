// The methods that a service handles. Their types come from its broker.ts: one handler for each, none more.
import type { MethodDefinition } from '@warren/events';
import { WarrenError } from '../errors.ts';
import { type BrokerDefinition, requestQueues } from '../messaging/broker.ts';
import type { ReadContext } from '../request/context.ts';

/** Handles one request over the broker. It only reads; it throws a problem as a route does, and the problem travels. */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export type MethodHandler<Request extends object, Response extends object, Schema = any, Config = any> = (
  request: Request,
  context: ReadContext<Schema, Config>,
) => Promise<Response>;

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

/** What `Methods` of any broker.ts is at run time. */
// biome-ignore lint/suspicious/noExplicitAny: methods of different requests stand in one object
export type AnyMethods = Readonly<Record<string, MethodHandler<any, any>>>;

/** A method and its handler. */
export interface RpcHandler {
  // biome-ignore lint/suspicious/noExplicitAny: methods of different requests stand in one list
  method: MethodDefinition<any, any>;
  // biome-ignore lint/suspicious/noExplicitAny: see above
  handle(request: any, context: ReadContext<any, any>): Promise<object>;
}

/**
 * The methods of a service, each with its handler.
 * @throws {WarrenError} `invalid_service`, when a method has none
 */
export const bindMethods = (broker: BrokerDefinition | undefined, handlers: AnyMethods): RpcHandler[] =>
  requestQueues(broker).flatMap(([, { methods }]) =>
    Object.entries(methods).map(([key, method]) => {
      const handle = handlers[key];
      // The compiler refuses it, but Node.js runs what was not compiled.
      if (handle === undefined)
        throw new WarrenError('invalid_service', `methods.ts has no handler for ${key}`);
      return { method, handle };
    }),
  );
