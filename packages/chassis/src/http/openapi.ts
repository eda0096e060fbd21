// OpenAPI 3.1 from routes: every service describes itself at /openapi.json, and the gateway describes the whole.
// https://spec.openapis.org/oas/v3.1.0.html
import { STATUS_CODES } from 'node:http';
import { Joi } from '@warren/events';
import { asError, WarrenError } from '../errors.ts';
import { CORRELATION_HEADER } from './correlation.ts';
import { type JsonSchema, jsonSchemaOf } from './json-schema.ts';
import { Components, MEANING, problemResponse } from './openapi/components.ts';
import {
  AUTH_OFF,
  DESCRIPTION,
  OPENAPI,
  type OpenApiDocument,
  type OpenApiOperation,
} from './openapi/document.ts';
import { pascal, unique } from './openapi/names.ts';
import type { Route } from './routes.ts';

export { combineApis } from './openapi/combine.ts';
export type { OpenApiDocument } from './openapi/document.ts';

export interface ApiDescription {
  /** Of the service. */
  name: string;
  version: string;
  /** One line. */
  summary?: string;
  routes: readonly Route[];
  /** Whether the service has a database: without one, a POST knows no `Idempotency-Key`. Default: true. */
  database?: boolean;
  /** AUTH; the description says when it is off. Default: jwt. */
  auth?: 'off' | 'jwt';
}

const JSON_TYPE = 'application/json';
const HTML_TYPE = 'text/html';

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

function describeRoute(route: Route, path: string, scope: Scope): OpenApiOperation {
  try {
    return operationOf(route, path, scope);
  } catch (cause) {
    throw new WarrenError('invalid_route', `${route.method} ${path}: ${asError(cause).message}`, { cause });
  }
}

function operationOf(route: Route, path: string, scope: Scope): OpenApiOperation {
  const { components } = scope;
  const { method } = route;
  const idempotent = method === 'POST' && scope.database;
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

function ruleOf({ access, method }: Route): string[] {
  if (access === 'public') return [];
  if (access === 'operator') return ['Requires the role `operator`.'];
  return [`Requires the user who owns the data${method === 'GET' ? ', or the role `operator`' : ''}.`];
}

const NEW: Partial<Record<Route['method'], string>> = { POST: 'New', PUT: 'Changed', PATCH: 'Changed' };

// --- Parameters ---

const fieldsOf = (fields: Joi.Schema | Joi.SchemaMap): Joi.Schema =>
  Joi.isSchema(fields) ? (fields as Joi.Schema) : Joi.object(fields as Joi.SchemaMap);

function parametersOf(
  fields: Joi.Schema | Joi.SchemaMap | undefined,
  where: 'query' | 'path',
): { parameters: object[]; rules: string[] } {
  if (fields === undefined) return { parameters: [], rules: [] };
  const { properties = {}, required = [], allOf, $comment } = jsonSchemaOf(fieldsOf(fields), 'input');
  return {
    parameters: Object.entries(properties).map(([name, { description, ...schema }]) => ({
      name,
      in: where,
      required: where === 'path' || required.includes(name),
      ...(description !== undefined && { description }),
      schema,
    })),
    // Between parameters OpenAPI knows no rules: they are told in words.
    rules: [...(allOf ?? []).map(inWords), ...($comment === undefined ? [] : [String($comment)])],
  };
}

function inWords(rule: JsonSchema): string {
  const names = (schemas: unknown) =>
    (schemas as JsonSchema[])
      .flatMap(({ required = [] }) => required.map((name) => `\`${name}\``))
      .join(', ');
  if (rule.oneOf !== undefined) {
    const many = rule.oneOf.some(({ not }) => not !== undefined) ? 'At most' : 'Exactly';
    return `${many} one of these parameters: ${names(rule.oneOf)}.`;
  }
  if (rule.anyOf !== undefined) return `At least one of these parameters: ${names(rule.anyOf)}.`;
  return `Constraint on the parameters: \`${JSON.stringify(rule)}\`.`;
}

function pathParametersOf(route: Route, path: string): object[] {
  const declared = parametersOf(route.params, 'path').parameters as { name: string }[];
  return [...path.matchAll(/:(\w+)/g)].map(
    ([, name]) =>
      declared.find((parameter) => parameter.name === name) ?? {
        name,
        in: 'path',
        required: true,
        schema: { type: 'string', minLength: 1 },
      },
  );
}

// --- Responses ---

/** What the chassis answers by itself, whatever the route: status, codes. */
function refusalsOf(route: Route, database: boolean): Map<number, string[]> {
  const idempotent = route.method === 'POST' && database;
  const hasBody = route.body !== undefined;
  const refusals: [number, string[], boolean][] = [
    [400, ['invalid_input', 'invalid_encoding', ...(hasBody ? ['malformed_json'] : [])], true],
    [401, ['token_missing', 'token_invalid'], true],
    [403, ['forbidden'], route.access !== 'public'],
    [404, [], route.path.includes(':')],
    [408, ['request_timeout'], hasBody],
    [409, ['idempotency_in_progress'], idempotent],
    [413, ['payload_too_large'], hasBody],
    [415, ['unsupported_media_type'], hasBody],
    [422, ['idempotency_key_reused'], idempotent],
    [500, ['internal_server_error'], true],
    [
      503,
      [...(database ? ['database_unavailable', 'contention'] : []), 'keys_unavailable', 'deadline_exceeded'],
      true,
    ],
  ];
  return new Map(refusals.flatMap(([status, codes, given]) => (given ? [[status, codes]] : [])));
}

function responsesOf(route: Route, { components, database }: Scope): Record<string, object> {
  const idempotent = route.method === 'POST' && database;
  const responses: Record<string, object> = {};
  const refusals = refusalsOf(route, database);
  const declared = Object.entries(route.responses ?? {}).map(
    ([status, schema]) => [Number(status), schema] as const,
  );
  const successes = declared.filter(([status]) => status < 400);
  for (const [status, schema] of successes.length > 0 ? successes : [[200, Joi.object().unknown()] as const])
    responses[status] = successOf(status, schema, route, idempotent, components);

  const failures = new Map(declared.filter(([status]) => status >= 400));
  for (const status of [...new Set([...refusals.keys(), ...failures.keys()])].sort((a, b) => a - b)) {
    const own = refusals.get(status) ?? [];
    const schema = failures.get(status);
    responses[status] =
      schema == null ? components.problem(status, own) : declaredProblem(status, schema, own, components);
  }
  responses.default = components.problem('default', []);
  return responses;
}

function successOf(
  status: number,
  schema: Joi.Schema | null,
  route: Route,
  idempotent: boolean,
  components: Components,
): object {
  const header = (name: string) => components.use('headers', name);
  return {
    description: `${MEANING[status] ?? STATUS_CODES[status] ?? 'Success'}.`,
    headers: {
      [CORRELATION_HEADER]: header('CorrelationId'),
      ...(status === 201 && { location: header('Location') }),
      ...(idempotent && { 'idempotency-replayed': header('IdempotencyReplayed') }),
    },
    ...(schema !== null && {
      content: {
        [schema.type === 'string' ? HTML_TYPE : JSON_TYPE]: {
          schema: named(jsonSchemaOf(schema, 'output'), route, components),
        },
      },
    }),
  };
}

/** A problem whose codes the route gives, or that has a schema of its own. */
function declaredProblem(status: number, schema: Joi.Schema, own: string[], components: Components): object {
  const given = jsonSchemaOf(schema, 'output');
  const problem = components.use('schemas', 'Problem');
  const codes = given.enum === undefined ? own : [...given.enum.map(String), ...own];
  const more = given.enum === undefined ? given : { properties: { code: { enum: codes } } };
  return problemResponse(status, codes, { allOf: [problem, more] }, components);
}

/** An answer's schema by the name of what it is about: `User` at /users/:id, a page of them `Users`. */
function named(schema: JsonSchema, route: Route, components: Components): JsonSchema {
  const items = schema.properties?.items;
  if (items?.items === undefined) return components.schema(nounOf(route, ''), schema);
  const one = components.schema(nounOf(route, ''), items.items);
  const page = { ...schema, properties: { ...schema.properties, items: { ...items, items: one } } };
  return components.schema(pascal(lastSegment(route)), page);
}

const lastSegment = ({ path }: Route): string =>
  path.split('/').findLast((segment) => segment !== '' && !segment.startsWith(':')) ?? 'answer';

const nounOf = (route: Route, prefix: string): string =>
  `${prefix}${pascal(
    lastSegment(route)
      .replace(/(ss|x|ch|sh)es$/, '$1')
      .replace(/ies$/, 'y')
      .replace(/([^s])s$/, '$1'),
  )}`;

const operationIdOf = (method: string, path: string): string =>
  `${method.toLowerCase()}${pascal(path.replace(/:(\w+)/g, (_, name) => `by ${name}`))}`;

const templateOf = (path: string): string => path.replace(/:(\w+)/g, '{$1}');
