// What a handler gets that only reads, and how it calls other services.
import type { MethodDefinition } from '@warren/events';
import type { Kysely } from 'kysely';
import type { Logger, Origin } from '../context.ts';
import { WarrenError } from '../errors.ts';

/** What a handler gets that only reads: no transaction. Pass the signal to everything that may take long. */
// biome-ignore lint/suspicious/noExplicitAny: a handler that does not touch the database need not name its schema
export interface ReadContext<Schema = any, Config = any> {
  database: Kysely<Schema>;
  config: Config;
  log: Logger;
  now(): Date;
  correlationId: string;
  /** Aborted at the deadline of the request, and when the client has disconnected. */
  signal: AbortSignal;
  /** Calls a method of another service over the broker; broker.ts declares the subscription to its replies. */
  request: RequestMethod;
}

export interface RequestOptions {
  /** ms to wait for the reply, 60,000 at most; default 2,000. The deadline of the caller's own request ends the wait, too. */
  timeout?: number;
}

/**
 * Calls a method of another service over the broker. For reading only: a reply may be lost or late although the request was handled.
 * What has an effect is an event, or a request to the HTTP of the one service that has it.
 * @throws {Problem} the problem that the service replied with, or one of these: 503 `broker_unavailable` (at once, while the broker is
 * unavailable), 503 `method_unserved` (at once, if no service has ever handled it), 503 `too_many_requests_pending`, 504
 * `request_timed_out`, 502 `reply_invalid`
 */
export type RequestMethod = <Request extends object, Reply extends object>(
  method: MethodDefinition<Request, Reply>,
  data: Request,
  options?: RequestOptions,
) => Promise<Reply>;

/** Makes the `request` of a handler: its calls carry on the correlation id, trace and caller of the handler's own work. */
export type RequestFor = (origin: Origin) => RequestMethod;

/** For a service that receives no replies. */
export const rpcNotConfigured: RequestFor = () => async (method) => {
  throw new WarrenError(
    'invalid_service',
    `cannot call ${method.method}: broker.ts has no subscription to replies, named SERVICE.reply`,
  );
};
