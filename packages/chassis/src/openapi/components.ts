// The components of a document: what its routes share, above all the responses of the chassis itself.
import { STATUS_CODES } from 'node:http';
import { PROBLEM_TYPE } from '../errors.ts';
import { CORRELATION_HEADER } from '../request/correlation.ts';
import type { JsonSchema } from './json-schema.ts';
import { freeName, pascal, same, sorted } from './names.ts';

/** The meaning of each status. */
const MEANING: Record<number, string> = {
  200: 'Success',
  201: 'Created; `Location` is its path',
  204: 'No content',
  400: 'Invalid input; `errors` names each invalid field',
  401: 'The token is missing or invalid; see `WWW-Authenticate`',
  403: 'The token does not permit this request',
  404: 'Not found',
  408: 'The body did not arrive in time',
  409: 'Conflict with existing data, or with a request that is still in progress',
  413: 'The body is too large',
  415: 'The body is not JSON in UTF-8',
  422: 'The `Idempotency-Key` was used for a different request',
  500: 'Unexpected error; the log has it under the correlation id',
  503: 'Temporarily unavailable; retry after `Retry-After` seconds',
};

/** Statuses that come with `Retry-After`. */
const RETRIABLE = [409, 429, 503];

export const meaningOf = (status: number, fallback: string): string =>
  MEANING[status] ?? STATUS_CODES[status] ?? fallback;

/** @param codes that the problem can have; none if only the route knows them */
export function problemResponse(
  status: number | 'default',
  codes: string[],
  schema: object,
  components: Components,
): object {
  const meaning = status === 'default' ? 'Any other problem' : meaningOf(status, 'Problem');
  const listed = codes.map((code) => `\`${code}\``).join(', ');
  return {
    description: `${meaning}${listed && ` (${listed})`}.`,
    headers: {
      [CORRELATION_HEADER]: components.use('headers', 'CorrelationId'),
      ...([401, 403].includes(status as number) && {
        'www-authenticate': components.use('headers', 'WwwAuthenticate'),
      }),
      ...(RETRIABLE.includes(status as number) && { 'retry-after': components.use('headers', 'RetryAfter') }),
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
      description: 'An access token of the issuer. Ignored with AUTH=off.',
    },
  },
  schemas: {
    Problem: {
      type: 'object',
      description: 'RFC 9457',
      properties: {
        title: { type: 'string', description: 'Short name of the problem type.' },
        status: { type: 'integer', minimum: 400, maximum: 599 },
        code: { type: 'string', description: 'Stable code for programs.' },
        detail: { type: 'string', description: 'What went wrong in this case, and how to fix it.' },
        errors: {
          type: 'array',
          description: 'All invalid fields.',
          items: {
            type: 'object',
            properties: {
              path: { type: 'string', description: 'Path of the field; empty for the input as a whole.' },
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
        'A random UUID, new for each request. A request that is repeated with the same key and the same content takes effect once and gets the same response. Each user has keys of their own; clients without a token share theirs, so a guessable key would expose its response.',
      schema: { type: 'string', pattern: '^[\\x21-\\x7e]{1,255}$' },
    },
    CorrelationId: {
      name: CORRELATION_HEADER,
      in: 'header',
      required: false,
      description:
        'Identifies the request and everything it causes in logs, events and traces: 1 to 128 letters, digits and `_.:@/+=-`. Any other value is ignored, and a new id is generated.',
      schema: { type: 'string' },
    },
  },
  headers: {
    CorrelationId: {
      description: 'The id that the request has sent, or a new one.',
      required: true,
      schema: { type: 'string' },
    },
    Location: {
      description: 'Path of the created resource.',
      schema: { type: 'string', format: 'uri-reference' },
    },
    IdempotencyReplayed: {
      description: 'Present if the response is that of an earlier request with the same key.',
      schema: { type: 'string', enum: ['true'] },
    },
    WwwAuthenticate: {
      description: '`Bearer`, with the error codes of RFC 6750.',
      schema: { type: 'string' },
    },
    RetryAfter: {
      description: 'Seconds to wait before the next attempt.',
      schema: { type: 'integer', minimum: 0 },
    },
  },
};

/** The components of one document; it has those that a route uses. */
export class Components {
  readonly #parts: Record<string, Record<string, object>> = {};

  /** A reference to a component of the chassis. */
  use(kind: string, name: string): JsonSchema {
    return this.#put(kind, name, COMPONENTS[kind]?.[name] as object);
  }

  /** A reference to the response with the problem of a status. */
  problem(status: number | 'default', codes: string[]): JsonSchema {
    const response = problemResponse(status, codes, this.use('schemas', 'Problem'), this);
    const title = status === 'default' ? 'Problem' : pascal(STATUS_CODES[status] ?? `Status ${status}`);
    return this.#put('responses', title, response);
  }

  /** A reference to a schema of that name; with a number if another schema has the name. */
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
