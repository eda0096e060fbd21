// Raw HTTP, for a service that stands before others: what it does with every request, and with those no route matches.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Context } from 'koa';
import type { Auth } from '../auth/auth.ts';
import type { Logger } from '../context.ts';
import { asError, WarrenError } from '../errors.ts';
import type { Counters } from '../telemetry/counters.ts';
import { problemAnswer, send } from './answer.ts';
import { type Exchange, exchangeOf } from './exchange.ts';
import { toProblem } from './failures.ts';

/** What the front is given besides Node's request and response. */
export interface FrontContext {
  correlationId: string;
  /** W3C trace context for what this request sets off; absent while nobody traces. */
  traceparent: string | undefined;
  log: Logger;
  /** Aborted when the client has gone. */
  signal: AbortSignal;
  /**
   * Verifies the token of the request, where it has one; does nothing with AUTH=off. Whether the request needs one is decided by
   * the service that it is forwarded to, which verifies it again.
   * @throws {Problem} 401 `token_invalid`, 503 `keys_unavailable`
   */
  authenticate(): Promise<void>;
  /** Whether the answer must end its connection. */
  readonly draining: boolean;
  /** How metrics and the access log call it: one of few names, never a path. `unmatched` until it is set. */
  route: string;
}

/** What a front is made with. */
export interface FrontTools {
  log: Logger;
  /** Of the service's own `counters`. */
  count: Counters;
}

/** One a running service. */
export interface Front {
  /** Called with every new connection, before anything of it is read. @returns false to have it reset */
  connect?(socket: Socket): boolean;
  /** Before every request, also one that a route matches. @throws {Problem} to refuse it */
  admit?(request: IncomingMessage, response: ServerResponse): void;
  /**
   * Answers what no route matches, with bodies and time-outs of its own. The response has the correlation id and the
   * security headers already; they may be overwritten.
   * @throws {Problem} as the answer; once the head of the answer is out, an error cuts the connection instead
   */
  fallback?(request: IncomingMessage, response: ServerResponse, context: FrontContext): Promise<void>;
  /** After the last answer. */
  close?(): Promise<void>;
}

export type Fallback = NonNullable<Front['fallback']>;

interface RawOptions {
  draining: () => boolean;
  auth: Auth | undefined;
}

/** Has `fallback` answer; never rejects. */
export async function answerRaw(
  ctx: Context,
  fallback: Fallback,
  { draining, auth }: RawOptions,
): Promise<void> {
  const { req, res } = ctx;
  const current = exchangeOf(ctx);
  const gone = new AbortController();
  const leave = () => {
    if (!res.writableFinished) gone.abort(new WarrenError('client_gone', 'The client has gone.'));
  };
  if (res.closed) leave();
  else res.once('close', leave);
  try {
    const authenticate = async () => {
      if (auth !== undefined) current.caller = await auth.callerOf(req.headers.authorization);
    };
    await fallback(req, res, contextOf(current, gone.signal, { draining, authenticate }));
    ctx.respond = false;
  } catch (error) {
    const refusal = toProblem(error);
    if (gone.signal.aborted) {
      ctx.respond = false;
      return;
    }
    if (refusal.status === 500) current.log.error({ err: error }, 'request failed unexpectedly');
    else if (refusal.status > 500) current.reason = asError(error).message;
    if (!res.headersSent) return send(ctx, problemAnswer(refusal));
    // Half an answer must never look like a whole one: a reset, for a plain end is the end of an HTTP/1.0 answer.
    ctx.respond = false;
    current.cut = refusal.status;
    req.socket.resetAndDestroy();
  }
}

function contextOf(
  current: Exchange,
  signal: AbortSignal,
  { draining, authenticate }: Pick<RawOptions, 'draining'> & Pick<FrontContext, 'authenticate'>,
): FrontContext {
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
