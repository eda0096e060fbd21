// Bad input gets one clear answer: 400 with every mistake in it.
import { Joi, recognizerOf } from '@warren/events';
import { type FieldError, type Problem, problem, WarrenError } from '../errors.ts';
import type { RequestParts, Route } from './routes.ts';

/** Checks and converts the parts of a request. @throws {Problem} 400 with all mistakes, or the first of very many */
export type Validate = (
  input: RequestParts<Record<string, string>, object, unknown>,
) => RequestParts<object, object, unknown>;

const DEPTH = 64;
/** Of a body with more values than this the first mistake is told, not all: to find thousands holds everybody up. */
const MANY = 1_000;
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
      const result = schema.validate(value, { abortEarly: values > MANY });
      for (const { path, message } of result.error?.details ?? []) {
        // Joi calls the value as a whole "value".
        errors.push({
          path: path.join('.'),
          message: path.length === 0 ? message.replace(/^value\b/, whole) : message,
        });
      }
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

export function invalid(errors: FieldError[]): Problem {
  return problem(400, {
    title: 'Invalid input',
    code: 'invalid_input',
    detail: `${errors.map(({ message }) => message).join('; ')}.`,
    errors,
  });
}

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

/** Finds text that PostgreSQL refuses or changes (NUL, half a surrogate pair), `__proto__`, and nesting no honest client sends; counts values. */
export function inspect(value: unknown): { unsound?: FieldError; values: number } {
  const open: { value: unknown; path: string[] }[] = [{ value, path: [] }];
  let values = 0;
  for (let one = open.pop(); one !== undefined; one = open.pop()) {
    const { value, path } = one;
    values += 1;
    const wrong = (message: string) => ({
      unsound: { path: path.join('.'), message: `${path.at(-1) ?? 'the body'} ${message}` },
      values,
    });
    if (typeof value === 'string') {
      if (value.includes('\0')) return wrong('must not contain the character U+0000');
      if (!value.isWellFormed()) return wrong('must be well-formed Unicode');
    } else if (typeof value === 'object' && value !== null) {
      if (path.length >= DEPTH)
        return { unsound: { path: '', message: `the body is nested deeper than ${DEPTH} levels` }, values };
      for (const [name, inner] of Object.entries(value)) {
        const at = [...path, name];
        // Joi passes over it. https://github.com/hapijs/joi/issues/2221
        if (name === '__proto__')
          return { unsound: { path: at.join('.'), message: '__proto__ is not allowed' }, values };
        open.push({ value: inner, path: at });
      }
    }
  }
  return { values };
}
