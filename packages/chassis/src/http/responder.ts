// Responds to every request: the response of its route, a problem, or 503 when the deadline has passed.
import type { Context, Middleware } from 'koa';
import { asError, problem } from '../errors.ts';
import { toProblem } from '../request/problems.ts';
import { type EdgeHandler, type HandleUnmatched, respondUnmatched } from './edge.ts';
import { overdue, tooSlow } from './failures.ts';
import type { HttpOptions } from './options.ts';
import { type RequestScope, requestScopeOf } from './request-scope.ts';
import { type RenderedResponse, renderProblem, send } from './response.ts';
import { ALL_METHODS, buildRouter } from './router.ts';
import { securityHeaders } from './security-headers.ts';

/** `unmatched`: no route has the path, and the edge handler responds. */
type Outcome = { kind: 'response'; response: RenderedResponse } | { kind: 'unmatched' };

export function createResponder(
  options: HttpOptions,
  { track, draining }: { track: (work: Promise<unknown>) => void; draining: () => boolean },
): Middleware {
  const { edge, auth, config } = options;
  const dispatch = buildRouter(options).routes() as unknown as Middleware;
  const security = securityHeaders();

  return async (ctx) => {
    const scope = requestScopeOf(ctx);
    const { deadline } = scope;
    ctx.set(security);
    const work = outcomeOf(ctx, dispatch, edge);
    track(work);
    const outcome = await Promise.race([work, deadline.passed]);
    deadline.clear();
    if (outcome?.kind === 'unmatched') {
      const raw = respondUnmatched(ctx, edge?.handleUnmatched as HandleUnmatched, { draining, auth });
      track(raw);
      return raw;
    }
    ctx.set('cache-control', 'no-store');
    if (outcome !== undefined) return send(ctx, outcome.response);
    void work.then((late) => logLate(scope, late));
    const isComplete = ctx.req.complete;
    const timeout = config.REQUEST_TIMEOUT;
    send(ctx, renderProblem(isComplete ? (scope.late?.() ?? overdue(timeout)) : tooSlow(timeout)));
  };
}

function logLate({ log }: RequestScope, outcome: Outcome): void {
  if (outcome.kind === 'unmatched' || outcome.response.status >= 400) return;
  const { status } = outcome.response;
  log.warn({ status }, 'request completed after its deadline; its client already received 503');
}

/** Never rejects: an error becomes a response. */
async function outcomeOf(ctx: Context, dispatch: Middleware, edge?: EdgeHandler): Promise<Outcome> {
  try {
    edge?.onRequest?.(ctx.req, ctx.res);
    // The server as a whole. https://www.rfc-editor.org/rfc/rfc9110#section-9.3.7
    if (ctx.method === 'OPTIONS' && ctx.req.url === '*') return allowing(ALL_METHODS);
    await dispatch(ctx as Parameters<Middleware>[0], async () => {});
    const response = ctx.state.response as RenderedResponse | undefined;
    if (response !== undefined) return { kind: 'response', response };
    const methods = methodsOf(ctx);
    if (methods.length > 0) return methodNotAllowed(ctx, methods);
    if (edge?.handleUnmatched !== undefined) return { kind: 'unmatched' };
    return refusing(problem(404, { detail: `No route matches ${ctx.path}.` }));
  } catch (error) {
    const scope = requestScopeOf(ctx);
    const { signal } = scope.deadline;
    const refusal = toProblem(error);
    const isStopped = signal.aborted && error === signal.reason;
    if (!isStopped) {
      if (refusal.status === 500) scope.log.error({ err: error }, 'request failed unexpectedly');
      else if (refusal.status > 500) scope.reason = asError(error).message;
    }
    return refusing(refusal);
  }
}

/** Methods of the routes that have this path, sorted. */
function methodsOf(ctx: Context): string[] {
  const layers = (ctx as unknown as { matched?: { methods: string[] }[] }).matched ?? [];
  return [...new Set(layers.flatMap(({ methods }) => methods))].sort();
}

function methodNotAllowed({ method }: Context, methods: string[]): Outcome {
  const allow = [...methods, 'OPTIONS'].join(', ');
  if (method === 'OPTIONS') return allowing(allow);
  return refusing(problem(405, { detail: `Allowed methods: ${allow}.`, headers: { allow } }));
}

const allowing = (allow: string): Outcome => ({
  kind: 'response',
  response: { status: 204, headers: { allow }, body: undefined },
});

const refusing = (refusal: Parameters<typeof renderProblem>[0]): Outcome => ({
  kind: 'response',
  response: renderProblem(refusal),
});
