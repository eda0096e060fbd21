// OpenAPI 3.1 from routes: every service describes itself at /openapi.json, and the gateway describes the whole.
// https://spec.openapis.org/oas/v3.1.0.html
import { STATUS_CODES } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import { Joi } from '@warren/contracts';
import { asError, WarrenError } from '../errors.ts';
import { CORRELATION_HEADER } from './correlation.ts';
import { type JsonSchema, jsonSchemaOf } from './json-schema.ts';
import type { Route } from './routes.ts';

export interface OpenApiDocument {
  openapi: string;
  info: { title: string; version: string; summary?: string; description?: string };
  servers?: { url: string; description?: string }[];
  security?: object[];
  tags?: { name: string; description?: string }[];
  paths: Record<string, Record<string, OpenApiOperation>>;
  /** By kind (`schemas`, `responses`, …), then by name. */
  components?: Record<string, Record<string, object>>;
}

export interface OpenApiOperation {
  operationId?: string;
  tags?: string[];
  summary?: string;
  description?: string;
  parameters?: object[];
  requestBody?: object;
  responses: Record<string, object>;
  [extension: `x-${string}`]: unknown;
}

export interface ApiDescription {
  /** Of the service. */
  name: string;
  version: string;
  /** One line. */
  summary?: string;
  routes: readonly Route[];
  /** Whether the service has a database: without one, a POST knows no `Idempotency-Key`. Default: true. */
  database?: boolean;
}

const OPENAPI = '3.1.0';
const JSON_TYPE = 'application/json';
const PROBLEM_TYPE = 'application/problem+json';

const DESCRIPTION = `Bodies are JSON. A request may hold the fields and query parameters that are named here and no others; an answer may gain
fields, so ignore those you do not know. Whatever goes wrong is answered with a problem (RFC 9457), whose \`code\` is stable.
Every GET also answers HEAD.`;

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
    info: { title: name, version, ...(summary !== undefined && { summary }), description: DESCRIPTION },
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
    ...(isAlias ? [`An alias of \`${canonical}\`: the same route, also for \`Idempotency-Key\`.`] : []),
    ...(route.description === undefined ? [] : [route.description]),
    ...query.rules,
  ];
  const body = route.body && jsonSchemaOf(route.body, 'input');
  return {
    operationId: unique(operationIdOf(method, path), scope.ids),
    tags: [scope.service],
    summary: `${route.summary ?? canonical}${isAlias ? ` (alias of ${templateOf(route.path)})` : ''}`,
    ...(sentences.length > 0 && { description: sentences.join('\n\n') }),
    ...(isAlias && { 'x-alias-of': templateOf(route.path) }),
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
  if (rule.oneOf !== undefined) return `One of these parameters, and no more: ${names(rule.oneOf)}.`;
  if (rule.anyOf !== undefined) return `At least one of these parameters: ${names(rule.anyOf)}.`;
  return `Between the parameters: \`${JSON.stringify(rule)}\`.`;
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
    [400, ['invalid_input', 'malformed_json'], true],
    [404, [], route.path.includes(':')],
    [408, ['request_timeout'], hasBody],
    [409, ['idempotency_in_progress'], idempotent],
    [413, ['payload_too_large'], hasBody],
    [415, ['unsupported_media_type'], hasBody],
    [422, ['idempotency_key_reused'], idempotent],
    [500, ['internal_server_error'], true],
    [503, [...(database ? ['database_unavailable', 'contention'] : []), 'deadline_exceeded'], true],
  ];
  return new Map(refusals.flatMap(([status, codes, given]) => (given ? [[status, codes]] : [])));
}

const MEANING: Record<number, string> = {
  200: 'Done',
  201: 'Made; `Location` says where it is from now on',
  204: 'Done, and nothing to say',
  400: 'The input is at fault; `errors` names every field',
  404: 'There is none',
  408: 'The body did not arrive in time',
  409: 'It conflicts with what is there, or with a request that is still running',
  413: 'The body is too large',
  415: 'The body is no JSON in UTF-8',
  422: 'The `Idempotency-Key` belongs to a request with other content',
  500: 'Something unexpected went wrong; it is in the log under the correlation id',
  503: 'Not now: repeat it after `Retry-After`',
};

const LATER = [409, 429, 503];

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
    description: `${MEANING[status] ?? STATUS_CODES[status] ?? 'Done'}.`,
    headers: {
      [CORRELATION_HEADER]: header('CorrelationId'),
      ...(status === 201 && { location: header('Location') }),
      ...(idempotent && { 'idempotency-replayed': header('IdempotencyReplayed') }),
    },
    ...(schema !== null && {
      content: { [JSON_TYPE]: { schema: named(jsonSchemaOf(schema, 'output'), route, components) } },
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

function problemResponse(
  status: number | 'default',
  codes: string[],
  schema: object,
  components: Components,
): object {
  const meaning =
    status === 'default' ? 'Any other problem' : (MEANING[status] ?? STATUS_CODES[status] ?? 'A problem');
  const listed = codes.map((code) => `\`${code}\``).join(', ');
  return {
    description: `${meaning}${listed && ` (${listed})`}.`,
    headers: {
      [CORRELATION_HEADER]: components.use('headers', 'CorrelationId'),
      ...(LATER.includes(status as number) && { 'retry-after': components.use('headers', 'RetryAfter') }),
    },
    content: { [PROBLEM_TYPE]: { schema } },
  };
}

// --- Components ---

const COMPONENTS: Record<string, Record<string, object>> = {
  schemas: {
    Problem: {
      type: 'object',
      description: 'RFC 9457',
      properties: {
        title: { type: 'string', description: 'What it is, in a word or two.' },
        status: { type: 'integer', minimum: 400, maximum: 599 },
        code: { type: 'string', description: 'Stable, for programs.' },
        detail: { type: 'string', description: 'What went wrong this time, and the way out.' },
        errors: {
          type: 'array',
          description: 'Each field at fault.',
          items: {
            type: 'object',
            properties: {
              path: { type: 'string', description: 'Where it is; empty for the whole.' },
              message: { type: 'string' },
            },
            required: ['path', 'message'],
          },
        },
      },
      required: ['title', 'status', 'code'],
    },
  },
  parameters: {
    IdempotencyKey: {
      name: 'Idempotency-Key',
      in: 'header',
      required: false,
      description:
        'A request that is repeated under the same key with the same content has one effect, and is given the same answer.',
      schema: { type: 'string', pattern: '^[\\x21-\\x7e]{1,255}$' },
    },
    CorrelationId: {
      name: CORRELATION_HEADER,
      in: 'header',
      required: false,
      description:
        'Names all that comes of the request, in logs, events and traces; made up where it is absent or unfit.',
      schema: { type: 'string', pattern: '^[\\w.:@/+=-]{1,128}$' },
    },
  },
  headers: {
    CorrelationId: {
      description: 'Of the request, or a new one.',
      required: true,
      schema: { type: 'string' },
    },
    Location: { description: 'Path of what was made.', schema: { type: 'string', format: 'uri-reference' } },
    IdempotencyReplayed: {
      description: 'There when the answer is that of an earlier request under the same key.',
      schema: { type: 'string', enum: ['true'] },
    },
    RetryAfter: { description: 'Seconds.', schema: { type: 'integer', minimum: 0 } },
  },
};

/** What the routes of a document share, each part only where one uses it. */
class Components {
  readonly #parts: Record<string, Record<string, object>> = {};

  /** A reference to one of the chassis's own. */
  use(kind: string, name: string): JsonSchema {
    return this.#put(kind, name, COMPONENTS[kind]?.[name] as object);
  }

  /** A reference to the problem of a status. */
  problem(status: number | 'default', codes: string[]): JsonSchema {
    const response = problemResponse(status, codes, this.use('schemas', 'Problem'), this);
    const title = status === 'default' ? 'Problem' : pascal(STATUS_CODES[status] ?? `Status ${status}`);
    return this.#put('responses', title, response);
  }

  /** A reference to a schema under that name, or under that name and a number where another has it. */
  schema(name: string, schema: JsonSchema): JsonSchema {
    return schema.type === 'object' ? this.#put('schemas', name, schema) : schema;
  }

  all(): Record<string, Record<string, object>> {
    return Object.fromEntries(
      Object.entries(this.#parts)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([kind, parts]) => [kind, sorted(parts)]),
    );
  }

  #put(kind: string, wanted: string, part: object): JsonSchema {
    this.#parts[kind] ??= {};
    const parts = this.#parts[kind];
    const name = freeName(wanted, (taken) => parts[taken] === undefined || same(parts[taken], part));
    parts[name] = part;
    return { $ref: `#/components/${kind}/${name}` };
  }
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

const pascal = (text: string): string =>
  text.replace(
    /[^a-zA-Z0-9]*([a-zA-Z0-9]+)[^a-zA-Z0-9]*/g,
    (_, word: string) => word[0]?.toUpperCase() + word.slice(1),
  );

function unique(wanted: string, taken: Set<string>): string {
  const name = freeName(wanted, (each) => !taken.has(each));
  taken.add(name);
  return name;
}

/** The name, or the first of name2, name3, … that is free. */
function freeName(wanted: string, isFree: (name: string) => boolean): string {
  for (let name = wanted, count = 2; ; name = `${wanted}${count}`, count += 1) if (isFree(name)) return name;
}

const sorted = <T>(parts: Record<string, T>): Record<string, T> =>
  Object.fromEntries(Object.entries(parts).sort(([a], [b]) => (a < b ? -1 : 1)));

/** Whether two say the same, in whatever order of fields. */
const same = (one: unknown, other: unknown): boolean => isDeepStrictEqual(one, other);

// --- The whole ---

/**
 * One document of many. A component of the same name and content is there once; one of the same name and other content
 * is renamed, and so is an operation id that two have. Where two documents have the same path and method, the first has it.
 */
export function combineApis(
  documents: readonly OpenApiDocument[],
  { title, version, description = DESCRIPTION }: { title: string; version: string; description?: string },
): OpenApiDocument {
  const components: Record<string, Record<string, object>> = {};
  const paths: OpenApiDocument['paths'] = {};
  const tags = new Map<string, { name: string; description?: string }>();
  const ids = new Set<string>();

  for (const document of documents) {
    const prefix = pascal(document.info.title);
    const { components: own, paths: mine } = withoutClashes(document, components, prefix);
    for (const [kind, parts] of Object.entries(own)) components[kind] = { ...components[kind], ...parts };
    for (const tag of document.tags ?? []) if (!tags.has(tag.name)) tags.set(tag.name, tag);
    for (const [path, operations] of Object.entries(mine)) {
      paths[path] ??= {};
      for (const [method, operation] of Object.entries(operations)) {
        if (paths[path][method] !== undefined) continue;
        const { operationId } = operation;
        const id =
          operationId === undefined || !ids.has(operationId) ? operationId : `${operationId}Of${prefix}`;
        paths[path][method] = id === undefined ? operation : { ...operation, operationId: unique(id, ids) };
      }
    }
  }
  return {
    openapi: OPENAPI,
    info: { title, version, description },
    servers: [{ url: '/' }],
    security: [],
    tags: [...tags.values()],
    paths,
    components: Object.fromEntries(Object.entries(components).map(([kind, parts]) => [kind, sorted(parts)])),
  };
}

/** The document with those of its components renamed whose name stands for something else already. */
function withoutClashes(
  { components = {}, paths = {} }: OpenApiDocument,
  taken: Record<string, Record<string, object>>,
  prefix: string,
): Required<Pick<OpenApiDocument, 'components' | 'paths'>> {
  const renamed = new Map<string, string>();
  const rename = <T>(value: T): T =>
    JSON.parse(JSON.stringify(value), (key, inner) =>
      key === '$ref' ? (renamed.get(inner) ?? inner) : inner,
    );
  // A component that refers to a renamed one is another than its namesake, too: again until none is left.
  for (let before = -1; before < renamed.size; ) {
    before = renamed.size;
    for (const [kind, parts] of Object.entries(components))
      for (const [name, part] of Object.entries(parts)) {
        const ref = `#/components/${kind}/${name}`;
        const there = taken[kind]?.[name];
        if (renamed.has(ref) || there === undefined || same(there, rename(part))) continue;
        const free = freeName(
          `${prefix}${name}`,
          (each) => taken[kind]?.[each] === undefined && parts[each] === undefined,
        );
        renamed.set(ref, `#/components/${kind}/${free}`);
      }
  }
  const nameNow = (kind: string, name: string) =>
    renamed.get(`#/components/${kind}/${name}`)?.slice(`#/components/${kind}/`.length) ?? name;
  return {
    paths: rename(paths),
    components: Object.fromEntries(
      Object.entries(components).map(([kind, parts]) => [
        kind,
        Object.fromEntries(Object.entries(parts).map(([name, part]) => [nameNow(kind, name), rename(part)])),
      ]),
    ),
  };
}
