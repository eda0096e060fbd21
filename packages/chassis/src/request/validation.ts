// Validation of input: what HTTP and RPC have in common.
import type { Joi } from '@warren/events';
import { type FieldError, type Problem, problem } from '../errors.ts';

const MAX_DEPTH = 64;

/** 400 `invalid_input` with these errors. */
export function invalid(errors: FieldError[]): Problem {
  return problem(400, {
    title: 'Invalid input',
    code: 'invalid_input',
    detail: `${errors.map(({ message }) => message).join('; ')}.`,
    errors,
  });
}

/** @param whole what a message calls the value as a whole; Joi calls it "value" */
export const fieldErrors = (error: Joi.ValidationError | undefined, whole: string): FieldError[] =>
  (error?.details ?? []).map(({ path, message }) => ({
    path: path.join('.'),
    message: path.length === 0 ? message.replace(/^value\b/, whole) : message,
  }));

/**
 * Finds text that PostgreSQL refuses or changes (NUL, an unpaired surrogate), `__proto__`, and excessive nesting.
 * @returns the first of them, and how many values were counted until then
 */
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
      if (path.length >= MAX_DEPTH)
        return {
          unsound: { path: '', message: `the body is nested deeper than ${MAX_DEPTH} levels` },
          values,
        };
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
