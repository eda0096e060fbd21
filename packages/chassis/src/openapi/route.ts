// A route as a document describes it, and the names that follow from it.
import type { Joi } from '@warren/events';
import type { Access } from '../auth/access.ts';
import { pascal } from './names.ts';

/** The parts of a route that a document describes. */
export interface DescribedRoute {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path template, e.g. `/users/:id`. */
  path: string;
  aliases?: string[];
  access: Access;
  summary?: string;
  description?: string;
  params?: Joi.Schema | Joi.SchemaMap;
  query?: Joi.Schema | Joi.SchemaMap;
  body?: Joi.Schema;
  /** By status; `null` means no body. A status from 400 on may have the codes of its problem: `Joi.valid('email_taken')`. */
  responses?: Record<number, Joi.Schema | null>;
}

export const JSON_TYPE = 'application/json';

/** Whether repeats of a request under the same `Idempotency-Key` have one effect. */
export const isIdempotent = ({ method }: DescribedRoute, database: boolean): boolean =>
  method === 'POST' && database;

export const lastSegment = ({ path }: DescribedRoute): string =>
  path.split('/').findLast((segment) => segment !== '' && !segment.startsWith(':')) ?? 'response';

/** `User` of /users/:id */
export const nounOf = (route: DescribedRoute, prefix: string): string =>
  `${prefix}${pascal(
    lastSegment(route)
      .replace(/(ss|x|ch|sh)es$/, '$1')
      .replace(/ies$/, 'y')
      .replace(/([^s])s$/, '$1'),
  )}`;

export const operationIdOf = (method: string, path: string): string =>
  `${method.toLowerCase()}${pascal(path.replace(/:(\w+)/g, (_, name) => `by ${name}`))}`;

/** As OpenAPI writes it: `/users/{id}` */
export const templateOf = (path: string): string => path.replace(/:(\w+)/g, '{$1}');
