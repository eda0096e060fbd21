// The web face of a service: routes in, a listening server out. Koa stays in here.
import Router from '@koa/router';
import Koa, { type Context, type Middleware } from 'koa';
import helmet from 'koa-helmet';
import { admit, type Deed, Ownership, requireOwner, unnamedOwner } from '../auth/access.ts';
import { audit } from '../auth/audit.ts';
import type { Auth } from '../auth/auth.ts';
import type { ChassisConfig } from '../config.ts';
import type { Logger, Origin, UnitsOfWork, WorkContext } from '../context.ts';
import { asError, problem, WarrenError } from '../errors.ts';
import { type RequestFor, rpcNotConfigured } from '../rpc/client.ts';
import type { Metrics } from '../telemetry/index.ts';
import { jsonBody } from './body.ts';
import { invalidEncoding } from './content.ts';
import { PASSED } from './deadline.ts';
import { type EdgeHandler, type HandleUnmatched, respondUnmatched } from './edge.ts';
import { overdue, tooSlow, toProblem } from './failures.ts';
import { type Idempotency, idempotency, idempotencyKeyOf } from './idempotency.ts';
import { onMalformed } from './malformed.ts';
import { describeApi } from './openapi.ts';
import { openRequestScope, type RequestScope, requestScopeOf } from './request-scope.ts';
import { type RenderedResponse, renderProblem, renderResponse, send } from './response.ts';
import type { Method, ReadContext, RequestParts, Route } from './routes.ts';
import { createHttpServer } from './server.ts';
import { type SharedWork, shareCommits } from './shared.ts';
import { compileValidation } from './validation.ts';

export interface Http {
  /** @returns the port; another one than asked for when that was 0. @throws {WarrenError} `port_taken` */
  listen(port: number, host?: string): Promise<number>;
  /** From now on every answer ends its connection; new ones are still accepted. */
  closeAfterResponse(): void;
  /**
   * Stops accepting, answers with `Connection: close`, and resolves when everything in hand is finished, including work
   * whose client already has its 503. The caller bounds the time, and calls `close` after it.
   */
  drain(): Promise<void>;
  /** Cuts every connection. */
  close(): Promise<void>;
}

export interface HttpOptions {
  name: string;
  version: string;
  routes: readonly Route[];
  /** Absent in a service without a database: its handlers all get what a GET gets. */
  units?: UnitsOfWork;
  /** Absent with AUTH=off. */
  auth?: Auth | undefined;
  /** Absent in a service that asks no other. */
  requestFor?: RequestFor;
  edge?: EdgeHandler;
  config: Pick<ChassisConfig, 'REQUEST_TIMEOUT' | 'BODY_LIMIT'>;
  log: Logger;
  metrics: Metrics;
  now: () => Date;
}

/** @throws {WarrenError} `invalid_route` */
export function createHttp(options: HttpOptions): Http {
  const { config, log, metrics, edge } = options;
  const inHand = new Set<Promise<unknown>>();
  const keep = (work: Promise<unknown>) => {
    inHand.add(work);
    const done = () => inHand.delete(work);
    work.then(done, done);
  };
  const app = new Koa();
  const router = buildRouter(options);
  const dispatch = router.routes() as unknown as Middleware;

  app.on('error', (error) => log.debug({ err: error }, 'cannot send a response'));
  app.use(
    openRequestScope({ log, metrics, timeout: config.REQUEST_TIMEOUT, draining: () => server.draining }),
  );
  const security = securityHeaders();
  app.use(async (ctx) => {
    const current = requestScopeOf(ctx);
    const { deadline } = current;
    ctx.set(security);
    const work = answerOf(ctx, dispatch, edge);
    keep(work);
    const answer = await Promise.race([work, deadline.passed]);
    deadline.clear();
    if (answer === UNMATCHED) {
      const raw = respondUnmatched(ctx, edge?.handleUnmatched as HandleUnmatched, {
        draining: () => server.draining,
        auth: options.auth,
      });
      keep(raw);
      return raw;
    }
    ctx.set('cache-control', 'no-store');
    if (answer !== PASSED) return send(ctx, answer);
    void work.then((done) => {
      if (done !== UNMATCHED && done.status < 400)
        current.log.warn(
          { status: done.status },
          'request completed after its deadline; its client already received 503',
        );
    });
    const arriving = !ctx.req.complete;
    const timeout = config.REQUEST_TIMEOUT;
    send(ctx, renderProblem(arriving ? tooSlow(timeout) : (current.late?.() ?? overdue(timeout))));
  });

  const server = createHttpServer(app.callback(), {
    requestTimeout: config.REQUEST_TIMEOUT,
    onConnection: edge?.onConnection?.bind(edge),
    malformed: onMalformed(log, metrics),
  });
  return {
    listen: (port, host) => server.listen(port, host),
    closeAfterResponse: () => server.closeAfterResponse(),
    async drain() {
      await server.drain();
      await Promise.all(inHand);
    },
    close: () => server.close(),
  };
}

/** Helmet's headers. They are the same for every answer, so it is asked for them once. */
function securityHeaders(): Record<string, string> {
  const headers: Record<string, string> = {};
  const response = {
    setHeader(name: string, value: string) {
      headers[name] = value;
    },
    removeHeader: () => {},
  };
  const middleware = helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { 'default-src': ["'none'"], 'frame-ancestors': ["'none'"] },
    },
  });
  const ctx = { req: {}, request: {}, res: response } as unknown as Parameters<typeof middleware>[0];
  void middleware(ctx, async () => {});
  return headers;
}

/** No route knows the path, and the edge takes it. */
const UNMATCHED = Symbol('unmatched');

/** Never rejects: an error is an answer too. */
async function answerOf(
  ctx: Context,
  dispatch: Middleware,
  edge?: EdgeHandler,
): Promise<RenderedResponse | typeof UNMATCHED> {
  try {
    edge?.onRequest?.(ctx.req, ctx.res);
    // The server as a whole. https://www.rfc-editor.org/rfc/rfc9110#section-9.3.7
    if (ctx.method === 'OPTIONS' && ctx.req.url === '*')
      return { status: 204, headers: { allow: ALL_METHODS }, body: undefined };
    await dispatch(ctx as Parameters<Middleware>[0], async () => {});
    const answer = ctx.state.answer as RenderedResponse | undefined;
    if (answer !== undefined) return answer;
    return edge?.handleUnmatched !== undefined && knownMethods(ctx).length === 0 ? UNMATCHED : unmatched(ctx);
  } catch (error) {
    const current = requestScopeOf(ctx);
    const { deadline } = current;
    const refusal = toProblem(error);
    const isStopped = deadline.signal.aborted && error === deadline.signal.reason;
    if (!isStopped) {
      if (refusal.status === 500) current.log.error({ err: error }, 'request failed unexpectedly');
      else if (refusal.status > 500) current.reason = asError(error).message;
    }
    return renderProblem(refusal);
  }
}

/** Methods of the routes at this path, in order. */
function knownMethods(ctx: Context): string[] {
  const layers = (ctx as unknown as { matched?: { methods: string[] }[] }).matched ?? [];
  return [...new Set(layers.flatMap(({ methods }) => methods))].sort();
}

function unmatched(ctx: Context): RenderedResponse {
  const methods = knownMethods(ctx);
  if (methods.length === 0) return renderProblem(problem(404, { detail: `No route matches ${ctx.path}.` }));
  const allow = [...methods, 'OPTIONS'].join(', ');
  if (ctx.method === 'OPTIONS') return { status: 204, headers: { allow }, body: undefined };
  return renderProblem(problem(405, { detail: `Allowed methods: ${allow}.`, headers: { allow } }));
}

function buildRouter(options: HttpOptions): Router {
  const router = new Router({ sensitive: true });
  const taken = new Set<string>();
  const { units } = options;
  const parts = units && { idempotent: idempotency(), shared: shareCommits(units) };
  serveDocument(router, options);
  for (const route of options.routes) {
    const described = answerRoute(route, options, parts);
    const answer = options.auth === undefined ? described : audited(route, described);
    for (const path of [route.path, ...(route.aliases ?? [])]) {
      refuseMisfit(route, path, taken);
      router.register(path, METHODS[route.method], async (ctx) => {
        requestScopeOf(ctx).route = route.path;
        ctx.state.answer = await answer(ctx);
      });
    }
  }
  return router;
}

const DOCUMENT = '/openapi.json';

/** What the service says of itself; made when it is first asked for. A service may have a route of its own there. */
function serveDocument(router: Router, { name, version, routes, units, auth }: HttpOptions): void {
  if (
    routes.some(({ method, path, aliases = [] }) => method === 'GET' && [path, ...aliases].includes(DOCUMENT))
  )
    return;
  let body: string | undefined;
  router.register(DOCUMENT, METHODS.GET, async (ctx) => {
    requestScopeOf(ctx).route = DOCUMENT;
    body ??= JSON.stringify(
      describeApi({
        name,
        version,
        routes,
        database: units !== undefined,
        auth: auth === undefined ? 'off' : 'jwt',
      }),
    );
    const headers = { 'content-type': 'application/json; charset=utf-8' };
    ctx.state.answer = { status: 200, headers, body } satisfies RenderedResponse;
  });
}

const METHODS: Record<Method, string[]> = {
  GET: ['GET', 'HEAD'],
  POST: ['POST'],
  PUT: ['PUT'],
  PATCH: ['PATCH'],
  DELETE: ['DELETE'],
};

const ALL_METHODS = [...new Set(Object.values(METHODS).flat()), 'OPTIONS'].join(', ');

function refuseMisfit({ method, path: canonical }: Route, path: string, taken: Set<string>): void {
  const refuse = (why: string): never => {
    throw new WarrenError('invalid_route', `${method} ${path}: ${why}.`);
  };
  const names = (template: string): string => (template.match(/:\w+/g) ?? []).sort().join();
  if (!path.startsWith('/')) refuse('the path must start with a slash');
  if (names(path) !== names(canonical)) refuse(`an alias must have the parameters of its route ${canonical}`);
  const shape = `${method} ${path.replace(/:\w+/g, ':')}`;
  if (taken.has(shape)) refuse('this route already exists');
  taken.add(shape);
}

/** Node.js replaces invalid bytes of a query by U+FFFD. @throws {Problem} 400 `invalid_encoding` */
function requireUtf8(query: string): void {
  try {
    for (const [escaped] of query.matchAll(/(?:%[\da-f]{2})+/gi)) decodeURIComponent(escaped);
  } catch (error) {
    throw invalidEncoding('The query is not valid UTF-8.', error);
  }
}

function answerRoute(
  route: Route,
  options: HttpOptions,
  parts: { idempotent: Idempotency; shared: SharedWork } | undefined,
): (ctx: Context) => Promise<RenderedResponse> {
  const answer = answerValidated(route, options, parts);
  const { auth, config } = options;
  const validate = compileValidation(route);
  const readBody = route.body === undefined ? undefined : jsonBody(config.BODY_LIMIT);
  const { access } = route;
  const deed = deedOf(route);

  return async (ctx) => {
    const scope = requestScopeOf(ctx);
    // Before the body is read: who may not come in sends it for nothing.
    if (auth !== undefined) {
      scope.caller = await auth.callerOf(ctx.req.headers.authorization);
      admit(access, scope.caller);
    }
    const body = await readBody?.(ctx);
    requireUtf8(ctx.querystring);
    const request = validate({ params: ctx.params, query: { ...ctx.query }, body, headers: ctx.req.headers });
    if (scope.caller !== undefined && typeof access === 'object') {
      scope.owners = [access.owner(request)];
      requireOwner(scope.caller, deed, scope.owners);
    }
    return answer(request, scope);
  };
}

const deedOf = ({ method }: Route): Deed => (method === 'GET' ? 'read' : 'write');

/** With AUTH=jwt, writes what a request did into the log. */
function audited(
  route: Route,
  answer: (ctx: Context) => Promise<RenderedResponse>,
): (ctx: Context) => Promise<RenderedResponse> {
  const deed = deedOf(route);
  const action = `${route.method} ${route.path}`;
  if (route.access === 'public' && deed === 'read') return answer;
  const write = ({ log, caller, owners }: RequestScope, outcome: unknown) => {
    if (caller !== undefined) audit(log, { caller, deed, action, owners }, outcome);
  };
  return async (ctx) => {
    const scope = requestScopeOf(ctx);
    try {
      const answered = await answer(ctx);
      write(scope, answered.status);
      return answered;
    } catch (error) {
      write(scope, error);
      throw error;
    }
  };
}

type AnswerValidated = (
  request: RequestParts<object, object, unknown>,
  scope: RequestScope,
) => Promise<RenderedResponse>;

function answerValidated(
  route: Route,
  options: HttpOptions,
  parts: { idempotent: Idempotency; shared: SharedWork } | undefined,
): AnswerValidated {
  const { units, config, now, requestFor = rpcNotConfigured } = options;
  const deed = deedOf(route);

  return async (request, scope) => {
    const { correlationId, traceparent, caller } = scope;
    const { signal } = scope.deadline;
    // A transaction may run it again: each run names the owner anew.
    const run = async (given: object): Promise<RenderedResponse> => {
      const ownership = new Ownership(caller, deed);
      const context = Object.assign(given, { authorise: ownership.authorise });
      try {
        const answer = renderResponse(
          await route.handler(request, context as Parameters<Route['handler']>[1]),
        );
        if (route.access === 'own' && ownership.owners === undefined && answer.status < 400)
          throw unnamedOwner(`${route.method} ${route.path}`);
        return answer;
      } finally {
        scope.owners ??= ownership.owners;
      }
    };

    const origin: Origin & { signal: AbortSignal } = {
      correlationId,
      ...(traceparent !== undefined && { traceparent }),
      get log() {
        return scope.log;
      },
      caller,
      signal,
    };
    if (route.method === 'GET' || units === undefined || parts === undefined) {
      const read: ReadContext = {
        database: units?.database as ReadContext['database'],
        config,
        log: scope.log,
        now,
        correlationId,
        signal,
        request: requestFor(origin),
      };
      return run(read);
    }
    const key = route.method === 'POST' ? idempotencyKeyOf(request) : undefined;
    const inTransaction = <T>(work: (work: WorkContext) => Promise<T>): Promise<T> =>
      route.shared === undefined
        ? units.run(origin, work)
        : parts.shared(`${route.path} ${route.shared(request)}`, origin, work);
    if (key === undefined) return inTransaction(run);
    const keyScope = { route: route.path, subject: caller?.subject, key, request };
    return parts.idempotent(keyScope, origin, scope, run, inTransaction);
  };
}
