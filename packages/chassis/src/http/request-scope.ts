// One request and its answer, as the parts of the chassis see it.
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
  /** W3C trace context for what this request sets off. */
  traceparent: string | undefined;
  log: Logger;
  deadline: Deadline;
  /** Canonical template of the route; `unmatched` until one is found. */
  route: string;
  /** With AUTH=jwt, once it is known. */
  caller?: Caller;
  /** The users whom its data belong to, once they are named. */
  owners?: readonly string[] | undefined;
  /** Why it cannot be served now; on its log line, for an outage fails every request and is told elsewhere. */
  reason?: string;
  /** What to answer at the deadline, where that is not 503. */
  late?: () => Problem;
  /** Status of the log line of an answer that was cut on our side. */
  cut?: number;
}

/** Where Koa's context keeps it. */
export const requestScopeOf = (ctx: Context): RequestScope => ctx.state.requestScope as RequestScope;

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);
const CLIENT_GONE = 499;
/** Characters of a path in a log line or a span. */
const LONGEST_PATH = 1_000;

/**
 * Opens the exchange, and when it is over writes its one log line, its metric and its span.
 * A client that leaves ends the work on a GET. A write goes on: it commits or rolls back as a whole either way, and a
 * repeat under the same Idempotency-Key then finds its answer.
 */
export function openRequestScope(options: {
  log: Logger;
  metrics: Metrics;
  timeout: number;
  draining: () => boolean;
}): Middleware {
  const { log, metrics, timeout, draining } = options;

  return (ctx, next) => {
    const { req, res } = ctx;
    const started = performance.now();
    const correlationId = correlationIdOf(req);
    ctx.set(CORRELATION_HEADER, correlationId);
    const method = METHODS.has(ctx.method) ? ctx.method : 'OTHER';
    const incoming = req.headers.traceparent as string | undefined;
    const parent = isTraceparent(incoming) ? incoming : undefined;
    // Of a target such as ahttp://x Koa knows no path.
    const path = (ctx.path as string | null)?.slice(0, LONGEST_PATH);
    const attributes = { 'http.request.method': method, 'url.path': path };

    return withSpan(method, { kind: SpanKind.SERVER, attributes, parent }, async (span) => {
      const traceparent = currentTraceparent();
      const traceId = traceIdOf(traceparent);
      const fields = traceId === undefined ? { correlationId } : { correlationId, traceId };
      const bound = childOf(log, () => fields);
      const current: RequestScope = {
        correlationId,
        traceparent,
        get log() {
          return bound();
        },
        deadline: startDeadline(timeout),
        route: 'unmatched',
      };
      ctx.state.requestScope = current;

      res.once('close', () => {
        const finished = res.writableFinished;
        if (!finished && (method === 'GET' || method === 'HEAD')) {
          current.deadline.abandon(new WarrenError('client_gone', 'The client has gone.'));
        }
        const status = finished ? res.statusCode : (current.cut ?? CLIENT_GONE);
        const seconds = (performance.now() - started) / 1_000;
        metrics.httpRequestDuration.observe({ method, route: current.route, status }, seconds);
        const level = status >= 500 ? 'error' : status >= 400 ? 'warn' : 'info';
        const { route, reason, caller } = current;
        const subject = caller?.subject;
        log[level](
          { ...fields, method, path, route, status, ms: Math.round(seconds * 1e6) / 1e3, subject, reason },
          'request',
        );
      });

      await next();

      if (draining()) ctx.set('connection', 'close');
      span?.updateName(`${method} ${current.route}`);
      span?.setAttributes({ 'http.route': current.route, 'http.response.status_code': ctx.status });
      if (ctx.status >= 500) span?.setStatus({ code: SpanStatusCode.ERROR });
    });
  };
}
