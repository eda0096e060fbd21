// A method: a request that a service handles over the broker, declared once. It only reads, because a reply can get lost: then the
// caller repeats the request or omits the part. An effect needs an event, or an HTTP request to the service that has it.
import Joi from 'joi';

/**
 * Who may send the request, with AUTH=jwt. `public`: every caller; `operator`: callers with that role; `owner`: the field of the
 * request with the id of the user who owns the data of the reply.
 */
export type MethodAccess<Request = Record<string, unknown>> =
  | 'public'
  | 'operator'
  | { readonly owner: keyof Request & string };

export interface MethodDefinition<Request extends object = object, Reply extends object = object> {
  /** `SERVICE.VERB`, e.g. `user.find`; only the service of that name can handle it. */
  readonly method: string;
  /** A breaking change is a new version, handled beside the old one. */
  readonly version: number;
  /** On the exchange `rpc`: `METHOD.vN`, e.g. `user.find.v1`. */
  readonly routingKey: string;
  /** The service that handles it: the first part of its name. */
  readonly service: string;
  /** The services that may call it. */
  readonly callers: readonly string[];
  readonly access: MethodAccess;
  readonly request: Joi.ObjectSchema<Request>;
  readonly reply: Joi.ObjectSchema<Reply>;
}

/** A method with any request and reply. */
// biome-ignore lint/suspicious/noExplicitAny: Joi's schema type is invariant, so `unknown` would fit no method
export type AnyMethod = MethodDefinition<any, any>;

const METHOD = /^[a-z][a-z0-9-]*\.[a-z][a-z0-9]*$/;

/**
 * Declares a method.
 * @example
 * export const findUser = defineMethod<{ userId: string }, User>({
 *   method: 'user.find',
 *   version: 1,
 *   callers: ['gateway'],
 *   access: { owner: 'userId' },
 *   request: { userId: uuid().required() },
 *   reply: { id: uuid().required(), … },
 * });
 * @throws {TypeError} when the name is not `service.verb` in lower case, or the version not a positive integer
 */
export function defineMethod<Request extends object, Reply extends object>(declaration: {
  method: string;
  version: number;
  callers: readonly string[];
  access: MethodAccess<Request>;
  request: Joi.PartialSchemaMap<Request>;
  reply: Joi.PartialSchemaMap<Reply>;
}): MethodDefinition<Request, Reply> {
  const { method, version, callers, access, request, reply } = declaration;
  if (!METHOD.test(method)) throw new TypeError(`method '${method}' must be of the form 'user.find'`);
  if (!Number.isInteger(version) || version < 1)
    throw new TypeError(`version of '${method}' must be a positive integer`);
  return Object.freeze({
    method,
    version,
    routingKey: `${method}.v${version}`,
    service: method.split('.', 1)[0] as string,
    callers: Object.freeze([...callers]),
    access,
    request: Joi.object<Request>(request).required(),
    reply: Joi.object<Reply>(reply).required(),
  });
}
