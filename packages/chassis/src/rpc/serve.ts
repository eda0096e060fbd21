// RPC over the broker, as a service declares it: the methods that it handles.
import type { MethodDefinition } from '@warren/events';
import type { ReadContext } from '../request/context.ts';

/** A method and its handler. */
export interface RpcHandler {
  // biome-ignore lint/suspicious/noExplicitAny: methods of different requests stand in one list
  method: MethodDefinition<any, any>;
  // biome-ignore lint/suspicious/noExplicitAny: see above
  handle(request: any, context: ReadContext<any, any>): Promise<object>;
}

/**
 * Declares the handler of a method. The handler only reads. A problem that it throws is thrown at the caller.
 * @example methods: [serve(listOrders, async ({ userId }, { database }) => ({ items: await latestOrders(database, userId, 100) }))]
 */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export function serve<Request extends object, Reply extends object, Schema = any, Config = any>(
  method: MethodDefinition<Request, Reply>,
  handler: (request: Request, context: ReadContext<Schema, Config>) => Promise<Reply>,
): RpcHandler {
  return { method, handle: handler };
}
