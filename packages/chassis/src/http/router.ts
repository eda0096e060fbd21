// The routes of a service in a router of Koa, with its OpenAPI document. Each leaves its response in `ctx.state.response`.
import Router from '@koa/router';
import { WarrenError } from '../errors.ts';
import { describeApi } from '../openapi/describe.ts';
import { idempotency } from './idempotency.ts';
import type { HttpOptions } from './options.ts';
import { requestScopeOf } from './request-scope.ts';
import { JSON_UTF8, type RenderedResponse } from './response.ts';
import { respondTo } from './route-handler.ts';
import type { Method, Route } from './routes.ts';
import { shareCommits } from './shared.ts';

const DOCUMENT = '/openapi.json';

const METHODS: Record<Method, string[]> = {
  GET: ['GET', 'HEAD'],
  POST: ['POST'],
  PUT: ['PUT'],
  PATCH: ['PATCH'],
  DELETE: ['DELETE'],
};

/** For `Allow`. */
export const ALL_METHODS = [...new Set(Object.values(METHODS).flat()), 'OPTIONS'].join(', ');

/** @throws {WarrenError} `invalid_route` */
export function buildRouter(options: HttpOptions): Router {
  const router = new Router({ sensitive: true });
  const taken = new Set<string>();
  const { units } = options;
  const parts = units && { units, idempotent: idempotency(), shared: shareCommits(units) };
  addDocument(router, options);
  for (const route of options.routes) {
    const respond = respondTo(route, options, parts);
    for (const path of [route.path, ...(route.aliases ?? [])]) {
      checkPath(route, path, taken);
      router.register(path, METHODS[route.method], async (ctx) => {
        requestScopeOf(ctx).route = route.path;
        ctx.state.response = await respond(ctx);
      });
    }
  }
  return router;
}

/** The OpenAPI document of the service, generated at the first request. A service may have a route of its own at this path. */
function addDocument(router: Router, { name, version, routes, units, auth }: HttpOptions): void {
  const isTaken = routes.some(
    ({ method, path, aliases = [] }) => method === 'GET' && [path, ...aliases].includes(DOCUMENT),
  );
  if (isTaken) return;
  const describe = () =>
    describeApi({
      name,
      version,
      routes,
      database: units !== undefined,
      auth: auth === undefined ? 'off' : 'jwt',
    });
  let body: string | undefined;
  router.register(DOCUMENT, METHODS.GET, async (ctx) => {
    requestScopeOf(ctx).route = DOCUMENT;
    body ??= JSON.stringify(describe());
    const headers = { 'content-type': JSON_UTF8 };
    ctx.state.response = { status: 200, headers, body } satisfies RenderedResponse;
  });
}

function checkPath({ method, path: canonical }: Route, path: string, taken: Set<string>): void {
  const refuse = (why: string): never => {
    throw new WarrenError('invalid_route', `${method} ${path}: ${why}.`);
  };
  const parameters = (template: string): string => (template.match(/:\w+/g) ?? []).sort().join();
  if (!path.startsWith('/')) refuse('the path must start with a slash');
  if (parameters(path) !== parameters(canonical))
    refuse(`an alias must have the parameters of its route ${canonical}`);
  const shape = `${method} ${path.replace(/:\w+/g, ':')}`;
  if (taken.has(shape)) refuse('this route already exists');
  taken.add(shape);
}
