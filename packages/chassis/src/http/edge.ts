// Raw HTTP, for a service that stands in front of others: hooks for every request, and the handler of those that no route matches.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Context } from 'koa';
import type { Auth } from '../auth/auth.ts';
import type { Logger } from '../context.ts';
import { asError, WarrenError } from '../errors.ts';
import { toProblem } from '../request/problems.ts';
import type { Counters } from '../telemetry/counters.ts';
import { type RequestScope, requestScopeOf } from './request-scope.ts';
import { renderProblem, send } from './response.ts';

/** What `handleUnmatched` gets besides Node's request and response. */
export interface EdgeContext {
  correlationId: string;
  /** W3C trace context for the requests that this one causes; absent without tracing. */
  traceparent: string | undefined;
  log: Logger;
  /** Aborted when the client has disconnected. */
  signal: AbortSignal;
  /**
   * Verifies the token of the request, if it has one; does nothing with AUTH=off. The service that gets the request decides whether
   * a token is required, and verifies it again.
   * @throws {Problem} 401 `token_invalid`, 503 `keys_unavailable`
   */
  authenticate(): Promise<void>;
  /** Whether the response must close its connection. */
  readonly draining: boolean;
  /** The label of metrics and of the access log: one of few names, never a path. `unmatched` until it is set. */
  route: string;
}

/** What an edge handler is created with. */
export interface EdgeTools {
  log: Logger;
  /** Counts by the `counters` of the service. */
  count: Counters;
}

/** One for each running service. */
export interface EdgeHandler {
  /** Called with every new connection before anything is read from it. @returns false to reset it */
  onConnection?(socket: Socket): boolean;
  /** Called before every request, also those that a route matches. @throws {Problem} to refuse the request */
  onRequest?(request: IncomingMessage, response: ServerResponse): void;
  /**
   * Responds to the requests that no route matches; it limits their body and time itself. The response already has the correlation
   * id and the security headers, which may be overwritten.
   * @throws {Problem} as the response; after the headers were sent, an error resets the connection instead
   */
  handleUnmatched?(request: IncomingMessage, response: ServerResponse, context: EdgeContext): Promise<void>;
  /** Called after the last response. */
  close?(): Promise<void>;
}

export type HandleUnmatched = NonNullable<EdgeHandler['handleUnmatched']>;

interface RawOptions {
  draining: () => boolean;
  auth: Auth | undefined;
}

/** Has `handle` respond; never rejects. */
export async function respondUnmatched(
  ctx: Context,
  handle: HandleUnmatched,
  { draining, auth }: RawOptions,
): Promise<void> {
  const { req, res } = ctx;
  const current = requestScopeOf(ctx);
  const gone = new AbortController();
  const onClose = () => {
    if (!res.writableFinished) gone.abort(new WarrenError('client_gone', 'The client has disconnected.'));
  };
  if (res.closed) onClose();
  else res.once('close', onClose);
  try {
    const authenticate = async () => {
      if (auth !== undefined) current.caller = await auth.callerOf(req.headers.authorization);
    };
    await handle(req, res, contextOf(current, gone.signal, { draining, authenticate }));
    ctx.respond = false;
  } catch (error) {
    const refusal = toProblem(error);
    if (gone.signal.aborted) {
      ctx.respond = false;
      return;
    }
    if (refusal.status === 500) current.log.error({ err: error }, 'request failed unexpectedly');
    else if (refusal.status > 500) current.reason = asError(error).message;
    if (!res.headersSent) return send(ctx, renderProblem(refusal));
    // A reset, because the plain end of a connection is also the regular end of an HTTP/1.0 response.
    ctx.respond = false;
    current.cut = refusal.status;
    req.socket.resetAndDestroy();
  }
}

function contextOf(
  current: RequestScope,
  signal: AbortSignal,
  { draining, authenticate }: Pick<RawOptions, 'draining'> & Pick<EdgeContext, 'authenticate'>,
): EdgeContext {
  const { correlationId, traceparent, log } = current;
  return {
    correlationId,
    traceparent,
    log,
    signal,
    authenticate,
    get draining() {
      return draining();
    },
    get route() {
      return current.route;
    },
    set route(route) {
      current.route = route;
    },
  };
}
