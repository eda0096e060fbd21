// The scope of one HTTP request: the state of it that the parts of the chassis share.
import { SpanStatusCode } from '@opentelemetry/api';
import type { Context, Middleware } from 'koa';
import type { Caller } from '../auth/caller.ts';
import type { Logger } from '../context.ts';
import { type Problem, WarrenError } from '../errors.ts';
import { CORRELATION_HEADER, correlationIdOf } from '../request/correlation.ts';
import { type Deadline, startDeadline } from '../request/deadline.ts';
import {
  childOf,
  currentTraceparent,
  isTraceparent,
  type Metrics,
  SpanKind,
  traceIdOf,
  withSpan,
} from '../telemetry/index.ts';

export interface RequestScope {
  correlationId: string;
  /** W3C trace context for everything that this request causes. */
  traceparent: string | undefined;
  log: Logger;
  deadline: Deadline;
  /** Canonical template of the route; `unmatched` until one is found. */
  route: string;
  /** With AUTH=jwt, after authentication. */
  caller?: Caller;
  /** The users who own its data, once the handler has named them. */
  owners?: readonly string[] | undefined;
  /** Why it got 502, 503 or 504. Only on its log line: an outage fails every request and is logged elsewhere. */
  reason?: string;
  /** The response at the deadline, if it is not 503. */
  late?: () => Problem;
  /** Status of the log line if our side cut the response. */
  cut?: number;
}

/** The scope in a context of Koa. */
export const requestScopeOf = (ctx: Context): RequestScope => ctx.state.requestScope as RequestScope;

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);
const CLIENT_GONE = 499;
const MAX_PATH_CHARS = 1_000;

interface ScopeOptions {
  log: Logger;
  metrics: Metrics;
  timeout: number;
  draining: () => boolean;
}

/**
 * Opens the scope of a request, and writes its log line, metric and span when it is over.
 * If the client disconnects, a GET is aborted. A write goes on: it commits or rolls back as a whole, and a repeat under the
 * same Idempotency-Key gets its response.
 */
export function openRequestScope(options: ScopeOptions): Middleware {
  return (ctx, next) => {
    const { req } = ctx;
    const started = performance.now();
    const correlationId = correlationIdOf(req);
    ctx.set(CORRELATION_HEADER, correlationId);
    const method = METHODS.has(ctx.method) ? ctx.method : 'OTHER';
    const incoming = req.headers.traceparent as string | undefined;
    const parent = isTraceparent(incoming) ? incoming : undefined;
    // Koa has no path for a target such as ahttp://x.
    const path = (ctx.path as string | null)?.slice(0, MAX_PATH_CHARS);
    const attributes = { 'http.request.method': method, 'url.path': path };

    return withSpan(method, { kind: SpanKind.SERVER, attributes, parent }, async (span) => {
      const traceparent = currentTraceparent();
      const traceId = traceIdOf(traceparent);
      const fields = traceId === undefined ? { correlationId } : { correlationId, traceId };
      const scope = scopeOf({ correlationId, traceparent, fields }, options);
      ctx.state.requestScope = scope;
      ctx.res.once('close', () => closeScope(ctx, scope, { started, method, path, fields }, options));

      await next();

      if (options.draining()) ctx.set('connection', 'close');
      span?.updateName(`${method} ${scope.route}`);
      span?.setAttributes({ 'http.route': scope.route, 'http.response.status_code': ctx.status });
      if (ctx.status >= 500) span?.setStatus({ code: SpanStatusCode.ERROR });
    });
  };
}

function scopeOf(
  { fields, ...ids }: Pick<RequestScope, 'correlationId' | 'traceparent'> & { fields: object },
  { log, timeout }: ScopeOptions,
): RequestScope {
  const bound = childOf(log, () => fields);
  return {
    ...ids,
    get log() {
      return bound();
    },
    deadline: startDeadline(timeout),
    route: 'unmatched',
  };
}

/** After the response, or when the client has disconnected. */
function closeScope(
  { res }: Context,
  { deadline, route, reason, caller, cut }: RequestScope,
  request: { started: number; method: string; path: string | undefined; fields: object },
  { log, metrics }: ScopeOptions,
): void {
  const { started, method, path, fields } = request;
  const finished = res.writableFinished;
  if (!finished && (method === 'GET' || method === 'HEAD'))
    deadline.abandon(new WarrenError('client_gone', 'The client has disconnected.'));
  const status = finished ? res.statusCode : (cut ?? CLIENT_GONE);
  const seconds = (performance.now() - started) / 1_000;
  metrics.httpRequestDuration.observe({ method, route, status }, seconds);
  const level = status >= 500 ? 'error' : status >= 400 ? 'warn' : 'info';
  const ms = Math.round(seconds * 1e6) / 1e3;
  log[level]({ ...fields, method, path, route, status, ms, subject: caller?.subject, reason }, 'request');
}
