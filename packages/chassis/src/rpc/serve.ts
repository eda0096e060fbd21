// Request/reply over the broker, as a service writes it down: which methods it serves, and how another one is asked.
import type { MethodDefinition } from '@warren/events';
import type { ReadContext } from '../http/routes.ts';

export interface RequestOptions {
  /** ms to wait for the reply, 60,000 at most; default 2,000. The deadline of whoever asks ends the wait as well. */
  timeout?: number;
}

/**
 * Asks another service over the broker. For reading only: an answer may be lost, or come too late, and the request be handled
 * all the same. What has an effect is an event, or a request to the HTTP of the one service that has it.
 * @throws {Problem} the one that the service answered with; or, with a code, 503 `broker_unavailable` (at once, while the broker is
 * away), 503 `method_unserved` (at once, where no service has ever served it), 503 `too_many_requests_pending`, 504
 * `request_timed_out`, 502 `reply_invalid`
 */
export type RequestMethod = <Request extends object, Reply extends object>(
  method: MethodDefinition<Request, Reply>,
  data: Request,
  options?: RequestOptions,
) => Promise<Reply>;

/** A method and who answers it. */
export interface RpcHandler {
  // biome-ignore lint/suspicious/noExplicitAny: methods of different requests stand in one list
  method: MethodDefinition<any, any>;
  // biome-ignore lint/suspicious/noExplicitAny: see above
  handle(request: any, context: ReadContext<any, any>): Promise<object>;
}

/**
 * Says who answers a method. The handler only reads; it throws a problem as a route does, and the problem travels.
 * @example methods: [serve(listOrders, async ({ userId }, { database }) => ({ items: await latestOrders(database, userId, 100) }))]
 */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export function serve<Request extends object, Reply extends object, Schema = any, Config = any>(
  method: MethodDefinition<Request, Reply>,
  handler: (request: Request, context: ReadContext<Schema, Config>) => Promise<Reply>,
): RpcHandler {
  return { method, handle: handler };
}
