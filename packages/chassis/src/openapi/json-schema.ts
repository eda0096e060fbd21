// JSON Schema (2020-12) of a Joi schema. Joi generates most of it; this adds constraints that Joi leaves out, and names in `$comment`
// those that JSON Schema cannot express.
import type { Joi } from '@warren/events';
import { WarrenError } from '../errors.ts';

export interface JsonSchema {
  type?: string | string[];
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: boolean | JsonSchema;
  items?: JsonSchema;
  anyOf?: JsonSchema[];
  allOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  enum?: unknown[];
  $ref?: string;
  [keyword: string]: unknown;
}

/** The result of Joi's `schema.describe()`. */
interface Description {
  type?: string;
  flags?: Record<string, unknown>;
  keys?: Record<string, Description>;
  items?: Description[];
  matches?: { schema?: Description }[];
  rules?: { name: string; args?: Record<string, unknown> }[];
  allow?: unknown[];
  invalid?: unknown[];
  examples?: unknown[];
  dependencies?: { rel: string; key?: string; peers: unknown[] }[];
  whens?: unknown[];
  schema?: Description;
}

/**
 * @param direction `input` refuses other fields; `output` allows them, because a later version may add fields
 * @throws {WarrenError} `invalid_route`, for a schema that refers to another (`Joi.link`)
 */
export function jsonSchemaOf(schema: Joi.Schema, direction: 'input' | 'output'): JsonSchema {
  const emitted = schema['~standard'].jsonSchema[direction]({ target: 'draft-2020-12' }) as JsonSchema;
  return complete(emitted, schema.describe() as Description, direction);
}

function complete(emitted: JsonSchema, said: Description, direction: 'input' | 'output'): JsonSchema {
  const { $defs: _, ...node } = emitted;
  const lost = rulesLost(said);
  if (node.$ref !== undefined || said.type === 'link')
    throw new WarrenError(
      'invalid_route',
      'a schema refers to another one with Joi.link, which OpenAPI cannot describe: write the schema out.',
    );
  if (node.properties !== undefined) completeFields(node, said, direction);
  if (direction === 'output' && node.additionalProperties === false) delete node.additionalProperties;
  if (node.items !== undefined && said.items?.length === 1)
    node.items = complete(node.items, said.items[0] as Description, direction);
  const branches = said.matches?.flatMap(({ schema }) => (schema === undefined ? [] : [schema])) ?? [];
  if (node.anyOf !== undefined && branches.length === node.anyOf.length)
    node.anyOf = node.anyOf.map((each, index) => complete(each, branches[index] as Description, direction));
  else if (branches.length > 0) lost.push('alternatives');
  if (said.whens !== undefined || said.matches?.some((match) => match.schema === undefined))
    lost.push('conditions');

  // Joi's output for flags and inverted patterns would refuse values that Joi accepts.
  if (lost.includes('pattern')) {
    delete node.pattern;
    delete node.allOf; // where Joi puts several
  }
  if (lost.includes('insensitive')) delete node.enum;
  // Joi lists null among the types, but not among the values.
  if (node.enum !== undefined && [node.type].flat().includes('null') && !node.enum.includes(null))
    node.enum = [...node.enum, null];
  if (said.invalid !== undefined) node.not = { enum: said.invalid };
  if (said.examples !== undefined) node.examples = said.examples;
  const constraints: JsonSchema[] = [];
  for (const dependency of said.dependencies ?? []) {
    const constraint = constraintOf(dependency);
    if (constraint === undefined) lost.push(dependency.rel);
    else constraints.push(constraint);
  }
  if (constraints.length > 0) node.allOf = [...(node.allOf ?? []), ...constraints];
  if (lost.length > 0) node.$comment = `Also checked: ${[...new Set(lost)].join(', ')}.`;
  return node;
}

function completeFields(node: JsonSchema, said: Description, direction: 'input' | 'output'): void {
  const gone = Object.entries(said.keys ?? {}).flatMap(([name, { flags = {} }]) =>
    flags.presence === 'forbidden' || (direction === 'output' && flags.result === 'strip') ? [name] : [],
  );
  node.properties = Object.fromEntries(
    Object.entries(node.properties ?? {}).flatMap(([name, field]) =>
      gone.includes(name) ? [] : [[name, complete(field, said.keys?.[name] ?? {}, direction)]],
    ),
  );
  const required = node.required?.filter((name) => !gone.includes(name)) ?? [];
  if (required.length > 0) node.required = required;
  else delete node.required;
}

// Rules that Joi translates itself, and those that convert a value and refuse none.
const TRANSLATED = new Set(
  (
    'min max length minCharacters maxCharacters pattern email guid isoDate uri hostname hex base64 ip domain dataUri isoDuration token ' +
    'integer greater less multiple port positive negative sign unique has iso ' +
    'trim case replace truncate normalize precision items'
  ).split(' '),
);

function rulesLost({ rules = [], flags = {} }: Description): string[] {
  return [
    ...rules.flatMap(({ name, args = {} }) => {
      const isRef = Object.values(args).some(
        (value) => typeof value === 'object' && value !== null && 'ref' in value,
      );
      // Unicode is how JSON Schema reads a pattern anyway.
      const flagged = name === 'pattern' && !/^\/.*\/u?$/s.test(String(args.regex));
      const inverted =
        name === 'pattern' && (args.options as { invert?: boolean } | undefined)?.invert === true;
      return TRANSLATED.has(name) && !isRef && !flagged && !inverted ? [] : [name];
    }),
    ...(flags.insensitive === true ? ['insensitive'] : []),
  ];
}

function constraintOf({
  rel,
  key,
  peers,
}: {
  rel: string;
  key?: string;
  peers: unknown[];
}): JsonSchema | undefined {
  if (!peers.every((peer) => typeof peer === 'string')) return undefined;
  const names = peers as string[];
  const has = (...required: string[]): JsonSchema => ({ required });
  switch (rel) {
    case 'or':
      return { anyOf: names.map((name) => has(name)) };
    case 'xor':
      return { oneOf: names.map((name) => has(name)) };
    case 'oxor':
      return {
        oneOf: [...names.map((name) => has(name)), { not: { anyOf: names.map((name) => has(name)) } }],
      };
    case 'nand':
      return { not: has(...names) };
    case 'and':
      return {
        dependentRequired: Object.fromEntries(
          names.map((name) => [name, names.filter((peer) => peer !== name)]),
        ),
      };
    case 'with':
      return key === undefined ? undefined : { dependentRequired: { [key]: names } };
    case 'without':
      return key === undefined ? undefined : { not: { anyOf: names.map((name) => has(key, name)) } };
    default:
      return undefined;
  }
}
