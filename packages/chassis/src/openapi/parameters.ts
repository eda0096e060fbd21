// The parameters of a route.
import { Joi } from '@warren/events';
import { type JsonSchema, jsonSchemaOf } from './json-schema.ts';
import type { DescribedRoute } from './route.ts';

const fieldsOf = (fields: Joi.Schema | Joi.SchemaMap): Joi.Schema =>
  Joi.isSchema(fields) ? (fields as Joi.Schema) : Joi.object(fields as Joi.SchemaMap);

export function parametersOf(
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
    // OpenAPI has no rules between parameters, so the description states them.
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

export function pathParametersOf(route: DescribedRoute, path: string): object[] {
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
