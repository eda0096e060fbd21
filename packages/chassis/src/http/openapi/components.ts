// What the routes of a document share, and above all what the chassis answers by itself.
import { STATUS_CODES } from 'node:http';
import { CORRELATION_HEADER } from '../correlation.ts';
import type { JsonSchema } from '../json-schema.ts';
import { freeName, pascal, same, sorted } from './names.ts';

const PROBLEM_TYPE = 'application/problem+json';

/** Of a status, in words. */
export const MEANING: Record<number, string> = {
  200: 'Done',
  201: 'Made; `Location` says where it is from now on',
  204: 'Done, and nothing to say',
  400: 'The input is at fault; `errors` names every field',
  401: 'A token is missing or invalid; `WWW-Authenticate` says which',
  403: 'The token does not allow it',
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

/** @param codes that it can have; none where the route alone knows them */
export function problemResponse(
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
      ...([401, 403].includes(status as number) && {
        'www-authenticate': components.use('headers', 'WwwAuthenticate'),
      }),
      ...(LATER.includes(status as number) && { 'retry-after': components.use('headers', 'RetryAfter') }),
    },
    content: { [PROBLEM_TYPE]: { schema } },
  };
}

const COMPONENTS: Record<string, Record<string, object>> = {
  securitySchemes: {
    bearer: {
      type: 'http',
      scheme: 'bearer',
      bearerFormat: 'JWT',
      description: 'A token of the issuer. With AUTH=off none is looked at.',
    },
  },
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
        'A random UUID, new for each request. A request that is repeated under the same key with the same content has one effect, and is given the same answer. A key belongs to the user who sends it; without a token all clients are one, and a key that can be guessed gives its answer away.',
      schema: { type: 'string', pattern: '^[\\x21-\\x7e]{1,255}$' },
    },
    CorrelationId: {
      name: CORRELATION_HEADER,
      in: 'header',
      required: false,
      description:
        'Names all that comes of the request, in logs, events and traces: 1 to 128 letters, digits and `_.:@/+=-`. Any other value counts as absent, and a new id is made.',
      schema: { type: 'string' },
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
    WwwAuthenticate: {
      description: '`Bearer`, with the error codes of RFC 6750.',
      schema: { type: 'string' },
    },
    RetryAfter: { description: 'Seconds.', schema: { type: 'integer', minimum: 0 } },
  },
};

/** What the routes of a document share, each part only where one uses it. */
export class Components {
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
