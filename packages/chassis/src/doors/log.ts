import type { Log } from '../context.ts';
import { asError } from '../errors.ts';
import { maskCredentials } from '../redact.ts';

const textOf = (fields: object | string, message: string | undefined): string => {
  if (typeof fields === 'string') return fields;
  const { err, ...rest } = fields as { err?: unknown };
  const parts = [message, ...(err === undefined ? [] : [asError(err).message])];
  const details = Object.keys(rest).length > 0 ? ` ${JSON.stringify(rest)}` : '';
  return maskCredentials(parts.join(': ') + details);
};

/** The log of an application that passes none: warnings and errors on standard error. */
export const warningsOnly: Log = {
  debug: () => {},
  info: () => {},
  warn: (fields: object | string, message?: string) => console.warn(`warren: ${textOf(fields, message)}`),
  error: (fields: object | string, message?: string) => console.error(`warren: ${textOf(fields, message)}`),
};

/** A hook of the application, whose error is logged: it must not change what becomes of an event. */
export const guarded =
  <Given extends unknown[]>(hook: ((...given: Given) => void) | undefined, log: Log) =>
  (...given: Given): void => {
    try {
      hook?.(...given);
    } catch (error) {
      log.error({ err: error }, 'a hook of the application failed');
    }
  };
