// What happens to a request of a route, in this order: authentication, body, validation, authorisation, handler, audit line.
import type { Context } from 'koa';
import { admit, type Deed, Ownership, requireOwner, unnamedOwner } from '../auth/access.ts';
import { audit } from '../auth/audit.ts';
import type { Origin, UnitsOfWork, WorkContext } from '../context.ts';
import { type ReadContext, rpcNotConfigured } from '../request/context.ts';
import { jsonBody } from './body.ts';
import { invalidEncoding } from './content.ts';
import { type Idempotency, idempotencyKeyOf } from './idempotency.ts';
import type { HttpOptions } from './options.ts';
import { type RequestScope, requestScopeOf } from './request-scope.ts';
import { type RenderedResponse, renderResponse } from './response.ts';
import type { RequestParts, Route } from './routes.ts';
import type { SharedWork } from './shared.ts';
import { compileValidation } from './validation.ts';

type Respond = (ctx: Context) => Promise<RenderedResponse>;
type Validated = RequestParts<object, object, unknown>;
type Handle = (request: Validated, scope: RequestScope) => Promise<RenderedResponse>;

/** What routes that write share; absent in a service without a database. */
export interface WriteParts {
  units: UnitsOfWork;
  idempotent: Idempotency;
  shared: SharedWork;
}

/** @throws {WarrenError} `invalid_route` */
export function respondTo(route: Route, options: HttpOptions, parts: WriteParts | undefined): Respond {
  const respond = checked(route, options, handlerOf(route, options, parts));
  return options.auth === undefined ? respond : audited(route, respond);
}

const deedOf = ({ method }: Route): Deed => (method === 'GET' ? 'read' : 'write');

/** Authenticates, validates and authorises before the handler. */
function checked(route: Route, { auth, config }: HttpOptions, handle: Handle): Respond {
  const validate = compileValidation(route);
  const readBody = route.body === undefined ? undefined : jsonBody(config.BODY_LIMIT);
  const { access } = route;
  const deed = deedOf(route);

  return async (ctx) => {
    const scope = requestScopeOf(ctx);
    // Before the body is read, which a client without access would send in vain.
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
    return handle(request, scope);
  };
}

/** Node.js replaces invalid bytes of a query by U+FFFD. @throws {Problem} 400 `invalid_encoding` */
function requireUtf8(query: string): void {
  try {
    for (const [escaped] of query.matchAll(/(?:%[\da-f]{2})+/gi)) decodeURIComponent(escaped);
  } catch (error) {
    throw invalidEncoding('The query is not valid UTF-8.', error);
  }
}

/** With AUTH=jwt, writes an audit line for each request. */
function audited(route: Route, respond: Respond): Respond {
  const deed = deedOf(route);
  const action = `${route.method} ${route.path}`;
  if (route.access === 'public' && deed === 'read') return respond;
  const write = ({ log, caller, owners }: RequestScope, outcome: unknown) => {
    if (caller !== undefined) audit(log, { caller, deed, action, owners }, outcome);
  };
  return async (ctx) => {
    const scope = requestScopeOf(ctx);
    try {
      const response = await respond(ctx);
      write(scope, response.status);
      return response;
    } catch (error) {
      write(scope, error);
      throw error;
    }
  };
}

/** Calls the handler of a route: without a transaction if it reads, otherwise in one. */
function handlerOf(route: Route, options: HttpOptions, parts: WriteParts | undefined): Handle {
  const { config, now, requestFor = rpcNotConfigured } = options;
  const isRead = route.method === 'GET' || parts === undefined;

  return (request, scope) => {
    const origin = originOf(scope);
    const run = runOf(route, request, scope);
    if (!isRead) return write(route, request, { scope, origin, run, parts });
    return run({
      database: options.units?.database as ReadContext['database'],
      config,
      log: scope.log,
      now,
      correlationId: scope.correlationId,
      signal: origin.signal,
      request: requestFor(origin),
    } satisfies ReadContext);
  };
}

type Run = (context: object) => Promise<RenderedResponse>;

/** A transaction may be run again, so each run names the owner anew. */
function runOf(route: Route, request: Validated, scope: RequestScope): Run {
  return async (given) => {
    const ownership = new Ownership(scope.caller, deedOf(route));
    const context = Object.assign(given, { authorise: ownership.authorise });
    try {
      const result = await route.handler(request, context as Parameters<Route['handler']>[1]);
      const response = renderResponse(result);
      if (route.access === 'own' && ownership.owners === undefined && response.status < 400)
        throw unnamedOwner(`${route.method} ${route.path}`);
      return response;
    } finally {
      scope.owners ??= ownership.owners;
    }
  };
}

type OriginOfRequest = Origin & { signal: AbortSignal };

function originOf(scope: RequestScope): OriginOfRequest {
  const { correlationId, traceparent, caller, deadline } = scope;
  return {
    correlationId,
    ...(traceparent !== undefined && { traceparent }),
    get log() {
      return scope.log;
    },
    caller,
    signal: deadline.signal,
  };
}

function write(
  route: Route,
  request: Validated,
  {
    scope,
    origin,
    run,
    parts,
  }: { scope: RequestScope; origin: OriginOfRequest; run: Run; parts: WriteParts },
): Promise<RenderedResponse> {
  const inTransaction = <T>(work: (work: WorkContext) => Promise<T>): Promise<T> =>
    route.shared === undefined
      ? parts.units.run(origin, work)
      : parts.shared(`${route.path} ${route.shared(request)}`, origin, work);
  const key = route.method === 'POST' ? idempotencyKeyOf(request) : undefined;
  if (key === undefined) return inTransaction(run);
  const keyScope = { route: route.path, subject: scope.caller?.subject, key, request };
  return parts.idempotent(keyScope, origin, scope, run, inTransaction);
}
