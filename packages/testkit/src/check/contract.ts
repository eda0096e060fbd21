// The contract of an event or method, from definitions of @warren/events, an AsyncAPI document or a JSON Schema.
import type { AnyEvent, AnyMethod } from '@warren/events';
import { Ajv } from 'ajv';
import formats from 'ajv-formats';
import { CheckError } from './options.ts';

/** @returns what is wrong with the value; undefined if it fits */
export type Validate = (value: unknown) => string | undefined;

export interface Contracts {
  /** Of the data of an event, by its routing key; undefined if the contract does not have it. */
  data(routingKey: string): Validate | undefined;
  /** Of the reply to a method. */
  reply(routingKey: string): Validate | undefined;
}

interface Schemas {
  components?: { schemas?: Record<string, object>; messages?: Record<string, { payload?: object }> };
}

/** @throws {CheckError} if it is none of the three */
export function contractsOf(given: object | undefined): Contracts {
  if (given === undefined) return { data: () => undefined, reply: () => undefined };
  const definitions = Object.values(given).filter(isDefinition);
  if (definitions.length > 0) return fromDefinitions(definitions);
  const { components } = given as Schemas;
  if (components?.schemas !== undefined) return fromAsyncApi(given as Schemas);
  if ('type' in given || 'properties' in given)
    return { data: () => byJsonSchema(given), reply: () => undefined };
  throw new CheckError(
    'the contract has no definitions: give a module that exports events of @warren/events, an AsyncAPI document, or a JSON Schema of the data',
  );
}

const isDefinition = (value: unknown): value is AnyEvent | AnyMethod =>
  typeof value === 'object' &&
  value !== null &&
  'routingKey' in value &&
  ('schema' in value || 'reply' in value);

function fromDefinitions(definitions: readonly (AnyEvent | AnyMethod)[]): Contracts {
  const schemaOf = (key: string) => {
    const found = definitions.find(({ routingKey }) => routingKey === key);
    return found === undefined ? undefined : 'schema' in found ? found.schema : found.reply;
  };
  const validate = (key: string): Validate | undefined => {
    const schema = schemaOf(key);
    return (
      schema && ((value) => schema.validate(value, { convert: false, allowUnknown: true }).error?.message)
    );
  };
  return { data: validate, reply: validate };
}

function fromAsyncApi({ components = {} }: Schemas): Contracts {
  const { schemas = {}, messages = {} } = components;
  const validate = (schema: object | undefined) => schema && byJsonSchema({ components, ...schema });
  return {
    data: (key) => validate(schemas[key]),
    reply: (key) => validate(messages[`${key}.reply`]?.payload),
  };
}

function byJsonSchema(schema: object): Validate {
  // `multipleOf: 0.01` is meant in decimals.
  const ajv = new Ajv({ strict: false, multipleOfPrecision: 6 });
  formats.default(ajv);
  const validate = ajv.compile(schema);
  return (value) => (validate(value) ? undefined : ajv.errorsText(validate.errors, { dataVar: 'data' }));
}
