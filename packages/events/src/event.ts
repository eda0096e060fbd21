// One event, declared once: its name, its version, its schema and its TypeScript type.
import Joi from 'joi';
import { type Recognizes, recognizerOf } from './recognize.ts';

export interface EventDefinition<Data extends object = object> {
  /** e.g. `user.created` */
  readonly type: string;
  /** A breaking change is a new version, published beside the old one. */
  readonly version: number;
  /** On the exchange `events`: `TYPE.vN`, e.g. `user.created.v1`. */
  readonly routingKey: string;
  /** Names type and version inside the envelope, e.g. `urn:warren:user.created:v1`. */
  readonly dataschema: string;
  /** The only service that publishes it: the first word of its type. */
  readonly from: string;
  readonly schema: Joi.ObjectSchema<Data>;
  /** Accepts data without the schema where that is known to accept them; see `recognizerOf`. */
  readonly recognizes: Recognizes;
  /** No service has to consume it: if none does, it is counted, and does not go to the queue `unrouted`. */
  readonly mayGoUnconsumed: boolean;
}

/** An event definition with any data. */
// biome-ignore lint/suspicious/noExplicitAny: Joi's schema type is invariant, so `unknown` would fit no event
export type AnyEvent = EventDefinition<any>;

/** The data type of an event definition. */
export type DataOf<Definition> = Definition extends EventDefinition<infer Data> ? Data : never;

const TYPE = /^[a-z][a-z0-9]*(\.[a-z][a-z0-9]*)+$/;

/**
 * Declares an event.
 * @example
 * export const userCreated = defineEvent<UserCreated>({
 *   type: 'user.created',
 *   version: 1,
 *   data: { userId: Joi.string().uuid().required(), … },
 * });
 * @throws {TypeError} when the type is not `noun.verb` in lower case, or the version not a positive integer
 */
export function defineEvent<Data extends object>(declaration: {
  type: string;
  version: number;
  data: Joi.PartialSchemaMap<Data>;
  mayGoUnconsumed?: boolean;
}): EventDefinition<Data> {
  const { type, version, data, mayGoUnconsumed = false } = declaration;
  if (!TYPE.test(type)) throw new TypeError(`event type '${type}' must be of the form 'user.created'`);
  if (!Number.isInteger(version) || version < 1)
    throw new TypeError(`version of '${type}' must be a positive integer`);
  const schema = Joi.object<Data>(data).required();
  return Object.freeze({
    type,
    version,
    routingKey: `${type}.v${version}`,
    dataschema: `urn:warren:${type}:v${version}`,
    from: type.split('.', 1)[0] as string,
    schema,
    recognizes: recognizerOf(schema),
    mayGoUnconsumed,
  });
}

/** A UUID as everybody writes it: with dashes and without braces, so that two spellings are never two ids. */
export const uuid = (): Joi.StringSchema => Joi.string().guid({ separator: '-', wrapper: false });
