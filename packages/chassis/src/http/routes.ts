// Declares routes: their data, and a handler that does not depend on Koa.
import type { Joi } from '@warren/events';
import type { Access, Authorising } from '../auth/access.ts';
import type { WorkContext } from '../context.ts';
import type { ReadContext } from '../request/context.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** A response other than 200 with a JSON body. */
export class HttpResponse {
  readonly status: number;
  /** A string is sent unchanged, anything else as JSON. */
  readonly body: object | string | undefined;
  readonly headers: Record<string, string>;

  constructor(status: number, body?: object | string, headers: Record<string, string> = {}) {
    this.status = status;
    this.body = body;
    this.headers = headers;
  }
}

/** A response of any status; headers in lower case. */
export const respond = (status: number, body?: object, headers?: Record<string, string>): HttpResponse =>
  new HttpResponse(status, body, headers);

/** 201 with the path of the created resource. */
export const created = (location: string, body: object): HttpResponse =>
  new HttpResponse(201, body, { location });

/** An HTML page. The caller escapes all values in it. */
export const html = (status: number, page: string, headers: Record<string, string> = {}): HttpResponse =>
  new HttpResponse(status, page, { 'content-type': 'text/html; charset=utf-8', ...headers });

/** 204 No Content. */
export const noContent = (): HttpResponse => new HttpResponse(204);

/** The validated parts of a request. */
export interface RequestParts<Params, Query, Body> {
  params: Params;
  query: Query;
  body: Body;
  /** Names in lower case. */
  headers: Readonly<Record<string, string | string[] | undefined>>;
}

// biome-ignore lint/suspicious/noExplicitAny: any schema will do
type AnySchema = Joi.Schema<any>;
type AnyMap = Record<string, AnySchema>;
// biome-ignore lint/suspicious/noExplicitAny: any fields will do
type AnyFields = Fields<any>;

/** Fields by name, each with its schema. For TypeScript every field is present: use `Joi.object<Query>({…})` if one may be missing. */
type Fields<T> = Joi.ObjectSchema<T> | AnyMap;

type Of<Source> =
  Source extends Joi.ObjectSchema<infer T>
    ? T
    : Source extends AnyMap
      ? { [Name in keyof Source]: Source[Name] extends Joi.AnySchema<infer T> ? T : unknown }
      : never;

type PathParams<Path extends string> = Path extends `${string}:${infer Name}/${infer Rest}`
  ? { [Key in Name]: string } & PathParams<`/${Rest}`>
  : Path extends `${string}:${infer Name}`
    ? { [Key in Name]: string }
    : Record<never, string>;

export interface RouteOptions<Params = AnyFields, Query = AnyFields, Body = AnySchema> {
  /** Who may call it. */
  access: Access;
  /** Other paths of the same route. Metrics and `Idempotency-Key` treat them as one. */
  aliases?: string[];
  summary?: string;
  description?: string;
  params?: Params;
  /** Other query parameters are refused. */
  query?: Query;
  /** JSON; other fields are refused. */
  body?: Body;
  /** Possible responses by status; `null` means no body. A string is a page, see {@link html}. */
  responses?: Record<number, Joi.Schema | null>;
  /**
   * Lets concurrent requests share a transaction, and so a commit, which saves the database much work. Returns a key of what the
   * request locks: a row lock does not separate requests within one transaction, so those of one key run one after the other. If one
   * request fails, the others are run again: no savepoints, no `set local`, no SELECT that writes.
   */
  // biome-ignore lint/suspicious/noExplicitAny: as in the handler of a route
  shared?: (request: RequestParts<any, any, any>) => string;
}

/** One route: its input, its responses and its handler. */
// biome-ignore lint/suspicious/noExplicitAny: a route is kept in a list with others of other types
export interface Route<Schema = any, Config = any> extends RouteOptions {
  method: Method;
  /** Canonical path template, e.g. `/users/:id`. */
  path: string;
  // A method, not a property: a handler that wants a narrower request than "any" still fits.
  handler(
    // biome-ignore lint/suspicious/noExplicitAny: see above
    request: RequestParts<any, any, any>,
    context: ReadContext<Schema, Config> & WorkContext<Schema, Config> & Authorising,
  ): Promise<object>;
}

type Handler<Path extends string, Params, Query, Body, Context> = (
  request: RequestParts<
    unknown extends Params ? PathParams<Path> : Of<Params>,
    unknown extends Query ? Record<never, string> : Of<Query>,
    unknown extends Body ? undefined : Body extends Joi.Schema<infer T> ? T : never
  >,
  context: Context,
) => Promise<object>;

/**
 * A route that reads. Its handler runs outside any transaction, and also handles HEAD.
 * @returns the handler's object as 200, or the {@link HttpResponse} it made
 * @example get('/users/:id', { access: own(({ params }) => params.id), params: { id } }, async ({ params }, { database }) => …)
 */
export function get<Path extends string, Params, Query, Schema, Config>(
  path: Path,
  options: RouteOptions<Params & AnyFields, Query & AnyFields, never>,
  handler: Handler<Path, Params, Query, unknown, ReadContext<Schema, Config> & Authorising>,
): Route<Schema, Config> {
  return { method: 'GET', path, ...options, handler } as Route<Schema, Config>;
}

/** A route that writes; see {@link post}. */
type Write = <Path extends string, Params, Query, Body, Schema, Config>(
  path: Path,
  options: RouteOptions<Params & AnyFields, Query & AnyFields, Body & AnySchema>,
  handler: Handler<Path, Params, Query, Body, WorkContext<Schema, Config> & Authorising>,
) => Route<Schema, Config>;

const write =
  (method: Method): Write =>
  (path, options, handler) =>
    ({ method, path, ...options, handler }) as unknown as Route;

/**
 * A route that writes. Its handler runs in a transaction, which commits before the response is sent, and rolls back when the
 * handler throws. Honours `Idempotency-Key`.
 * @returns the handler's object as 200, or the {@link HttpResponse} it made
 * @example post('/users', { access: 'public', body: newUser }, async ({ body }, work) => created(`/users/${id}`, await signUp(work, body)))
 */
export const post = write('POST');
export const put = write('PUT');
export const patch = write('PATCH');
export const del = write('DELETE');
