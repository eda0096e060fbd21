// The responses of a route: its own, and those that the chassis sends for any route.
import { Joi } from '@warren/events';
import { CORRELATION_HEADER } from '../request/correlation.ts';
import { type Components, meaningOf, problemResponse } from './components.ts';
import { type JsonSchema, jsonSchemaOf } from './json-schema.ts';
import { pascal } from './names.ts';
import { type DescribedRoute, isIdempotent, JSON_TYPE, lastSegment, nounOf } from './route.ts';

const HTML_TYPE = 'text/html';

/** Problems that the chassis sends for any route: status, codes. */
function refusalsOf(route: DescribedRoute, database: boolean): Map<number, string[]> {
  const idempotent = isIdempotent(route, database);
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

export function responsesOf(
  route: DescribedRoute,
  { components, database }: { components: Components; database: boolean },
): Record<string, object> {
  const idempotent = isIdempotent(route, database);
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
  route: DescribedRoute,
  idempotent: boolean,
  components: Components,
): object {
  const header = (name: string) => components.use('headers', name);
  return {
    description: `${meaningOf(status, 'Success')}.`,
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

/** A problem whose codes or schema the route declares. */
function declaredProblem(status: number, schema: Joi.Schema, own: string[], components: Components): object {
  const given = jsonSchemaOf(schema, 'output');
  const problem = components.use('schemas', 'Problem');
  const codes = given.enum === undefined ? own : [...given.enum.map(String), ...own];
  const more = given.enum === undefined ? given : { properties: { code: { enum: codes } } };
  return problemResponse(status, codes, { allOf: [problem, more] }, components);
}

/** The schema of a response, named after its subject: `User` for /users/:id, `Users` for a page of them. */
function named(schema: JsonSchema, route: DescribedRoute, components: Components): JsonSchema {
  const items = schema.properties?.items;
  if (items?.items === undefined) return components.schema(nounOf(route, ''), schema);
  const one = components.schema(nounOf(route, ''), items.items);
  const page = { ...schema, properties: { ...schema.properties, items: { ...items, items: one } } };
  return components.schema(pascal(lastSegment(route)), page);
}
