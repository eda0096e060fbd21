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
import { type RequestFor, requestNothing } from '../rpc/asker.ts';
import type { Metrics } from '../telemetry/index.ts';
import { type Answer, problemAnswer, send, toAnswer } from './answer.ts';
import { jsonBody } from './body.ts';
import { invalidEncoding } from './content.ts';
import { PASSED } from './deadline.ts';
import { type Exchange, exchange, exchangeOf } from './exchange.ts';
import { overdue, tooSlow, toProblem } from './failures.ts';
import { answerRaw, type Fallback, type Front } from './front.ts';
import { type Idempotency, idempotency, idempotencyKeyOf } from './idempotency.ts';
import { onMalformed } from './malformed.ts';
import { describeApi } from './openapi.ts';
import type { Method, ReadContext, RequestParts, Route } from './routes.ts';
import { createHttpServer } from './server.ts';
import { type SharedWork, shareCommits } from './shared.ts';
import { compileValidation } from './validation.ts';

export interface Http {
  /** @returns the port; another one than asked for when that was 0. @throws {WarrenError} `port_taken` */
  listen(port: number, host?: string): Promise<number>;
  /** From now on every answer ends its connection; new ones are still accepted. */
  retire(): void;
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
  front?: Front;
  config: Pick<ChassisConfig, 'REQUEST_TIMEOUT' | 'BODY_LIMIT'>;
  log: Logger;
  metrics: Metrics;
  now: () => Date;
}

/** @throws {WarrenError} `invalid_route` */
export function createHttp(options: HttpOptions): Http {
  const { config, log, metrics, front } = options;
  const inHand = new Set<Promise<unknown>>();
  const keep = (work: Promise<unknown>) => {
    inHand.add(work);
    const done = () => inHand.delete(work);
    work.then(done, done);
  };
  const app = new Koa();
  const router = buildRouter(options);
  const dispatch = router.routes() as unknown as Middleware;

  app.on('error', (error) => log.debug({ err: error }, 'an answer could not be sent'));
  app.use(exchange({ log, metrics, timeout: config.REQUEST_TIMEOUT, draining: () => server.draining }));
  const security = securityHeaders();
  app.use(async (ctx) => {
    const current = exchangeOf(ctx);
    const { deadline } = current;
    ctx.set(security);
    const work = answerOf(ctx, dispatch, front);
    keep(work);
    const answer = await Promise.race([work, deadline.passed]);
    deadline.clear();
    if (answer === UNMATCHED) {
      const raw = answerRaw(ctx, front?.fallback as Fallback, {
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
          'a request was done after its deadline, and its client was told otherwise',
        );
    });
    const arriving = !ctx.req.complete;
    const timeout = config.REQUEST_TIMEOUT;
    send(ctx, problemAnswer(arriving ? tooSlow(timeout) : (current.late?.() ?? overdue(timeout))));
  });

  const server = createHttpServer(app.callback(), {
    requestTimeout: config.REQUEST_TIMEOUT,
    connect: front?.connect?.bind(front),
    malformed: onMalformed(log, metrics),
  });
  return {
    listen: (port, host) => server.listen(port, host),
    retire: () => server.retire(),
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

/** No route knows the path, and the front takes it. */
const UNMATCHED = Symbol('unmatched');

/** Never rejects: an error is an answer too. */
async function answerOf(
  ctx: Context,
  dispatch: Middleware,
  front?: Front,
): Promise<Answer | typeof UNMATCHED> {
  try {
    front?.admit?.(ctx.req, ctx.res);
    // The server as a whole. https://www.rfc-editor.org/rfc/rfc9110#section-9.3.7
    if (ctx.method === 'OPTIONS' && ctx.req.url === '*')
      return { status: 204, headers: { allow: ALL_METHODS }, body: undefined };
    await dispatch(ctx as Parameters<Middleware>[0], async () => {});
    const answer = ctx.state.answer as Answer | undefined;
    if (answer !== undefined) return answer;
    return front?.fallback !== undefined && knownMethods(ctx).length === 0 ? UNMATCHED : unmatched(ctx);
  } catch (error) {
    const current = exchangeOf(ctx);
    const { deadline } = current;
    const refusal = toProblem(error);
    const isStopped = deadline.signal.aborted && error === deadline.signal.reason;
    if (!isStopped) {
      if (refusal.status === 500) current.log.error({ err: error }, 'a request failed unexpectedly');
      else if (refusal.status > 500) current.reason = asError(error).message;
    }
    return problemAnswer(refusal);
  }
}

/** Methods of the routes at this path, in order. */
function knownMethods(ctx: Context): string[] {
  const layers = (ctx as unknown as { matched?: { methods: string[] }[] }).matched ?? [];
  return [...new Set(layers.flatMap(({ methods }) => methods))].sort();
}

function unmatched(ctx: Context): Answer {
  const methods = knownMethods(ctx);
  if (methods.length === 0)
    return problemAnswer(problem(404, { detail: `There is nothing at ${ctx.path}.` }));
  const allow = [...methods, 'OPTIONS'].join(', ');
  if (ctx.method === 'OPTIONS') return { status: 204, headers: { allow }, body: undefined };
  return problemAnswer(problem(405, { detail: `${ctx.path} knows ${allow}.`, headers: { allow } }));
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
        exchangeOf(ctx).route = route.path;
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
    exchangeOf(ctx).route = DOCUMENT;
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
    ctx.state.answer = { status: 200, headers, body } satisfies Answer;
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
  if (!path.startsWith('/')) refuse('a path begins with a slash');
  if (names(path) !== names(canonical)) refuse(`an alias takes the parameters of its route, ${canonical}`);
  const shape = `${method} ${path.replace(/:\w+/g, ':')}`;
  if (taken.has(shape)) refuse('there is such a route already');
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
): (ctx: Context) => Promise<Answer> {
  const answer = answerValidated(route, options, parts);
  const { auth, config } = options;
  const validate = compileValidation(route);
  const readBody = route.body === undefined ? undefined : jsonBody(config.BODY_LIMIT);
  const { access } = route;
  const deed = deedOf(route);

  return async (ctx) => {
    const exchange = exchangeOf(ctx);
    // Before the body is read: who may not come in sends it for nothing.
    if (auth !== undefined) {
      exchange.caller = await auth.callerOf(ctx.req.headers.authorization);
      admit(access, exchange.caller);
    }
    const body = await readBody?.(ctx);
    requireUtf8(ctx.querystring);
    const request = validate({ params: ctx.params, query: { ...ctx.query }, body, headers: ctx.req.headers });
    if (exchange.caller !== undefined && typeof access === 'object') {
      exchange.owners = [access.owner(request)];
      requireOwner(exchange.caller, deed, exchange.owners);
    }
    return answer(request, exchange);
  };
}

const deedOf = ({ method }: Route): Deed => (method === 'GET' ? 'read' : 'write');

/** With AUTH=jwt, writes what a request did into the log. */
function audited(route: Route, answer: (ctx: Context) => Promise<Answer>): (ctx: Context) => Promise<Answer> {
  const deed = deedOf(route);
  const action = `${route.method} ${route.path}`;
  if (route.access === 'public' && deed === 'read') return answer;
  const write = ({ log, caller, owners }: Exchange, outcome: unknown) => {
    if (caller !== undefined) audit(log, { caller, deed, action, owners }, outcome);
  };
  return async (ctx) => {
    const exchange = exchangeOf(ctx);
    try {
      const answered = await answer(ctx);
      write(exchange, answered.status);
      return answered;
    } catch (error) {
      write(exchange, error);
      throw error;
    }
  };
}

type AnswerValidated = (
  request: RequestParts<object, object, unknown>,
  exchange: Exchange,
) => Promise<Answer>;

function answerValidated(
  route: Route,
  options: HttpOptions,
  parts: { idempotent: Idempotency; shared: SharedWork } | undefined,
): AnswerValidated {
  const { units, config, now, requestFor = requestNothing } = options;
  const deed = deedOf(route);

  return async (request, exchange) => {
    const { correlationId, traceparent, caller } = exchange;
    const { signal } = exchange.deadline;
    // A transaction may run it again: each run names the owner anew.
    const run = async (given: object): Promise<Answer> => {
      const ownership = new Ownership(caller, deed);
      const context = Object.assign(given, { authorise: ownership.authorise });
      try {
        const answer = toAnswer(await route.handler(request, context as Parameters<Route['handler']>[1]));
        if (route.access === 'own' && ownership.owners === undefined && answer.status < 400)
          throw unnamedOwner(`${route.method} ${route.path}`);
        return answer;
      } finally {
        exchange.owners ??= ownership.owners;
      }
    };

    const origin: Origin & { signal: AbortSignal } = {
      correlationId,
      ...(traceparent !== undefined && { traceparent }),
      get log() {
        return exchange.log;
      },
      caller,
      signal,
    };
    if (route.method === 'GET' || units === undefined || parts === undefined) {
      const read: ReadContext = {
        database: units?.database as ReadContext['database'],
        config,
        log: exchange.log,
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
    const scope = { route: route.path, subject: caller?.subject, key, request };
    return parts.idempotent(scope, origin, exchange, run, inTransaction);
  };
}
