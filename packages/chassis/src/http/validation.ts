// Validates the input of a route: 400 with every error.
import { Joi, recognizerOf } from '@warren/events';
import { type FieldError, WarrenError } from '../errors.ts';
import { fieldErrors, inspect, invalid } from '../request/validation.ts';
import type { RequestParts, Route } from './routes.ts';

/** Checks and converts the parts of a request. @throws {Problem} 400 with all mistakes, or the first of very many */
export type Validate = (
  input: RequestParts<Record<string, string>, object, unknown>,
) => RequestParts<object, object, unknown>;

/** A larger body gets only its first error reported, because finding thousands would block the process. */
const MAX_VALUES_FOR_ALL_ERRORS = 1_000;
const OPTIONS: Joi.ValidationOptions = { errors: { wrap: { label: false } } };

export function compileValidation(route: Route): Validate {
  const params = route.params && checkOf(schemaOf(route, 'params', route.params));
  const query = checkOf(schemaOf(route, 'query', route.query ?? {}));
  const body = route.body && checkOf(route.body.prefs(OPTIONS));

  return (input) => {
    const errors: FieldError[] = [];
    const check = (part: Check | undefined, value: unknown, whole: string): unknown => {
      const { unsound, values } = inspect(value);
      if (unsound !== undefined) {
        errors.push(unsound);
        return undefined;
      }
      if (part === undefined || part.recognizes(value)) return value;
      const { schema } = part;
      const result = schema.validate(value, { abortEarly: values > MAX_VALUES_FOR_ALL_ERRORS });
      errors.push(...fieldErrors(result.error, whole));
      return result.value;
    };
    const hasNoQuery = route.query === undefined && Object.keys(input.query).length === 0;
    const checked = {
      params: check(params, input.params, 'the path') as object,
      query: hasNoQuery ? input.query : (check(query, input.query, 'the query') as object),
      body: body === undefined ? undefined : check(body, input.body, 'the body'),
      headers: input.headers,
    };
    if (errors.length > 0) throw invalid(errors);
    return checked;
  };
}

interface Check {
  schema: Joi.Schema;
  recognizes: (value: unknown) => boolean;
}

const checkOf = (schema: Joi.Schema): Check => ({ schema, recognizes: recognizerOf(schema) });

function schemaOf(route: Route, part: string, fields: object): Joi.Schema {
  if (Joi.isSchema(fields)) return (fields as Joi.Schema).prefs(OPTIONS);
  try {
    return Joi.object(fields as Joi.SchemaMap).prefs(OPTIONS);
  } catch (cause) {
    throw new WarrenError(
      'invalid_route',
      `${route.method} ${route.path}: ${part} must be a schema or a map of schemas.`,
      { cause },
    );
  }
}
