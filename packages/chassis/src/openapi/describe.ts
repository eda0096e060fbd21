// OpenAPI 3.1 from routes: each service has its own document at /openapi.json, the gateway one of all services.
// https://spec.openapis.org/oas/v3.1.0.html
import { asError, WarrenError } from '../errors.ts';
import { Components } from './components.ts';
import { AUTH_OFF, DESCRIPTION, OPENAPI, type OpenApiDocument, type OpenApiOperation } from './document.ts';
import { jsonSchemaOf } from './json-schema.ts';
import { unique } from './names.ts';
import { parametersOf, pathParametersOf } from './parameters.ts';
import { responsesOf } from './responses.ts';
import { type DescribedRoute, isIdempotent, JSON_TYPE, nounOf, operationIdOf, templateOf } from './route.ts';

export interface ApiDescription {
  /** Of the service. */
  name: string;
  version: string;
  /** One line. */
  summary?: string;
  routes: readonly DescribedRoute[];
  /** Whether the service has a database: without one, a POST knows no `Idempotency-Key`. Default: true. */
  database?: boolean;
  /** AUTH; the description says when it is off. Default: jwt. */
  auth?: 'off' | 'jwt';
}

/**
 * The OpenAPI document of a service. In `responses` of a route, a status from 400 on may be given the codes it can have:
 * `409: Joi.valid('email_taken')`.
 * @throws {WarrenError} `invalid_route`, for a schema that no document can hold
 */
export function describeApi({
  name,
  version,
  summary,
  routes,
  database = true,
  auth = 'jwt',
}: ApiDescription): OpenApiDocument {
  const components = new Components();
  const ids = new Set<string>();
  const paths: OpenApiDocument['paths'] = {};
  for (const route of routes) {
    for (const path of [route.path, ...(route.aliases ?? [])]) {
      const template = templateOf(path);
      const operation = describeRoute(route, path, { service: name, components, database, ids });
      paths[template] = { ...paths[template], [route.method.toLowerCase()]: operation };
    }
  }
  return {
    openapi: OPENAPI,
    info: {
      title: name,
      version,
      ...(summary !== undefined && { summary }),
      description: auth === 'off' ? `${AUTH_OFF}\n\n${DESCRIPTION}` : DESCRIPTION,
    },
    servers: [{ url: '/' }],
    security: [],
    tags: [{ name, ...(summary !== undefined && { description: summary }) }],
    paths,
    components: components.all(),
  };
}

interface Scope {
  service: string;
  components: Components;
  database: boolean;
  /** Operation ids that are taken. */
  ids: Set<string>;
}

function describeRoute(route: DescribedRoute, path: string, scope: Scope): OpenApiOperation {
  try {
    return operationOf(route, path, scope);
  } catch (cause) {
    throw new WarrenError('invalid_route', `${route.method} ${path}: ${asError(cause).message}`, { cause });
  }
}

function operationOf(route: DescribedRoute, path: string, scope: Scope): OpenApiOperation {
  const { components } = scope;
  const { method } = route;
  const idempotent = isIdempotent(route, scope.database);
  const isAlias = path !== route.path;
  const canonical = `${method} ${templateOf(route.path)}`;
  const query = parametersOf(route.query, 'query');
  const sentences = [
    ...ruleOf(route),
    ...(isAlias ? [`Alias of \`${canonical}\`: both are one route, also for \`Idempotency-Key\`.`] : []),
    ...(route.description === undefined ? [] : [route.description]),
    ...query.rules,
  ];
  const body = route.body && jsonSchemaOf(route.body, 'input');
  components.use('securitySchemes', 'bearer');
  return {
    operationId: unique(operationIdOf(method, path), scope.ids),
    tags: [scope.service],
    summary: `${route.summary ?? canonical}${isAlias ? ` (alias of ${templateOf(route.path)})` : ''}`,
    ...(sentences.length > 0 && { description: sentences.join('\n\n') }),
    ...(isAlias && { 'x-alias-of': templateOf(route.path) }),
    security: route.access === 'public' ? [{}, { bearer: [] }] : [{ bearer: [] }],
    parameters: [
      ...pathParametersOf(route, path),
      ...query.parameters,
      ...(idempotent ? [components.use('parameters', 'IdempotencyKey')] : []),
      components.use('parameters', 'CorrelationId'),
    ],
    ...(body !== undefined && {
      requestBody: {
        required: (body.required ?? []).length > 0,
        content: { [JSON_TYPE]: { schema: components.schema(nounOf(route, NEW[method] ?? ''), body) } },
      },
    }),
    responses: responsesOf(route, scope),
  };
}

function ruleOf({ access, method }: DescribedRoute): string[] {
  if (access === 'public') return [];
  if (access === 'operator') return ['Requires the role `operator`.'];
  return [`Requires the user who owns the data${method === 'GET' ? ', or the role `operator`' : ''}.`];
}

const NEW: Partial<Record<DescribedRoute['method'], string>> = {
  POST: 'New',
  PUT: 'Changed',
  PATCH: 'Changed',
};
