// The OpenAPI documents: which operations there are, and whether an answer is as its operation says.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { checkout, type Name } from '../../../support/src/index.ts';
import type { Received } from './http.ts';

export interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  format?: string;
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  multipleOf?: number;
  properties?: Record<string, Schema>;
  required?: string[];
}

export interface Parameter {
  name: string;
  in: 'path' | 'query' | 'header';
  required?: boolean;
  schema: Schema;
}

interface Response {
  $ref?: string;
  headers?: Record<string, { $ref?: string; required?: boolean }>;
  content?: Record<string, { schema: Schema }>;
}

interface Document {
  paths: Record<string, Record<string, Described>>;
}

interface Described {
  operationId: string;
  parameters?: (Parameter & { $ref?: string })[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, Response>;
}

export interface Operation {
  service: Name;
  method: string;
  /** With `{placeholders}`. */
  path: string;
  parameters: Parameter[];
  /** Fields of the body, when there is one. */
  body: Schema | undefined;
  /** @throws {Error} when the answer is not among those of the operation, or not as that one is described */
  assertFits(answer: Received): void;
}

/** Reads the committed document of a service. */
export function readOperations(service: Name): Operation[] {
  const file = join(checkout, 'docs', 'reference', 'openapi', `${service}.json`);
  const document = JSON.parse(readFileSync(file, 'utf8')) as Document;
  const ajv = new Ajv2020({ strict: false, allErrors: true, multipleOfPrecision: 6 });
  formats.default(ajv);
  ajv.addSchema({ $id: service, ...document });
  const resolve = <T extends { $ref?: string }>(node: T): T =>
    node.$ref === undefined
      ? node
      : (node.$ref
          .slice(2)
          .split('/')
          .reduce((at: unknown, key) => (at as Record<string, unknown>)[key], document) as T);
  const compiled = new Map<string, ValidateFunction>();
  const validatorAt = (pointer: string): ValidateFunction => {
    const known = compiled.get(pointer) ?? ajv.compile({ $ref: `${service}#${pointer}` });
    compiled.set(pointer, known);
    return known;
  };

  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => {
      const schema = operation.requestBody?.content['application/json']?.schema;
      return {
        service,
        method: method.toUpperCase(),
        path,
        parameters: (operation.parameters ?? []).map(resolve),
        body: schema && resolve(schema),
        assertFits(answer) {
          const { status, headers, text } = answer;
          const key = String(status) in operation.responses ? String(status) : 'default';
          const where = operation.responses[key];
          if (where === undefined || (key === 'default' && status < 400))
            throw new Error(`${status} is not documented`);
          const pointer = where.$ref
            ? where.$ref.slice(1)
            : `/paths/${pointerPart(path)}/${method}/responses/${key}`;
          const described = resolve(where);
          for (const [name, header] of Object.entries(described.headers ?? {}))
            if (resolve(header).required && headers[name] === undefined)
              throw new Error(`the ${status} lacks the header ${name}`);
          const type = headers['content-type']?.split(';')[0] ?? '';
          const types = Object.keys(described.content ?? {});
          if (types.length === 0) {
            if (text !== '') throw new Error(`the ${status} has a body`);
            return;
          }
          if (!types.includes(type))
            throw new Error(`the ${status} is ${type || 'of no type'}, not ${types}`);
          const validate = validatorAt(`${pointer}/content/${pointerPart(type)}/schema`);
          if (!validate(JSON.parse(text)))
            throw new Error(`the ${status} does not fit its schema: ${ajv.errorsText(validate.errors)}`);
        },
      };
    }),
  );
}

/** For a JSON pointer in a URI fragment. */
const pointerPart = (part: string): string =>
  encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'));
