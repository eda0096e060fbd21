// The envelope every event travels in: CloudEvents 1.0, structured JSON. Built and parsed here and nowhere else.
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
import Joi from 'joi';
import { type AnyEvent, type EventDefinition, uuid } from './event.ts';
import { parseTimestamp, subtypeOf } from './formats.ts';
import { isIsoInstant } from './recognize.ts';
import { text } from './text.ts';
import { decodeUtf8 } from './utf8.ts';

export const CONTENT_TYPE = 'application/cloudevents+json';

export interface CloudEvent<Data extends object = object> {
  specversion: '1.0';
  /** Warren's own events have a UUID, which is also the AMQP `messageId`. Source and id together identify an event. */
  id: string;
  /** The service that published it, e.g. `/user`. */
  source: string;
  type: string;
  /** When it happened, ISO 8601 in UTC; of an event that does not say so, when it was published. */
  time: string;
  datacontenttype: 'application/json';
  dataschema: string;
  /** Id of the aggregate it is about: events of one subject are published in the order of their commits. */
  subject?: string;
  correlationid?: string;
  /** Id of the event that caused this one, directly or through a task. https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/correlation.md */
  causationid?: string;
  traceparent?: string;
  data: Data;
}

/** Why a message is not an event that this consumer understands. A retry cannot succeed. */
export class ContractError extends Error {
  override readonly name = 'ContractError';
  /**
   * `not_cloudevent`: it lacks what makes a CloudEvent 1.0. `invalid_attribute`: it is one, but the attribute in `field`
   * has a value that CloudEvents or Warren does not allow.
   */
  readonly code:
    | 'not_json'
    | 'not_cloudevent'
    | 'invalid_attribute'
    | 'unknown_type'
    | 'unknown_version'
    | 'invalid_data';
  /** Path of the field at fault, e.g. `data.email`; absent when the whole message is. */
  readonly field?: string;

  constructor(code: ContractError['code'], message: string, field?: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    if (field !== undefined) this.field = field;
  }
}

const timestamp = (value: string, { message }: Joi.CustomHelpers) =>
  parseTimestamp(value)?.toISOString() ?? message({ custom: 'must be a timestamp of RFC 3339' });

const mediaType = (value: string, { message }: Joi.CustomHelpers) =>
  subtypeOf(value) === undefined ? message({ custom: 'must be a media type' }) : value;

/** What makes a JSON value a CloudEvent. */
const required = Joi.object({
  specversion: Joi.valid('1.0').required(),
  id: Joi.required(),
  source: Joi.required(),
  type: Joi.required(),
})
  .unknown()
  .required();

/** An id or a correlation id becomes the AMQP property `correlation-id` of what is caused: 255 bytes at most. */
const PROPERTY_BYTES = 255;

const attributes = Joi.object({
  id: Joi.string().max(PROPERTY_BYTES, 'utf8'),
  source: Joi.string(),
  type: Joi.string(),
  time: Joi.string().custom(timestamp),
  datacontenttype: Joi.string().custom(mediaType),
  dataschema: Joi.string(),
  subject: Joi.string(),
  correlationid: Joi.string().max(PROPERTY_BYTES, 'utf8').empty(''),
  causationid: Joi.string().max(PROPERTY_BYTES, 'utf8').empty(''),
  // One that is too long to be one counts as absent, as W3C Trace Context wants it.
  traceparent: Joi.string().empty(Joi.alternatives('', Joi.string().min(256))),
}).unknown();

/** Warren's own events are narrower than what CloudEvents allows. */
const own = Joi.object({
  id: uuid().required(),
  source: text(255),
  type: text(255),
  time: Joi.string(),
  subject: text(255),
  traceparent: Joi.string().max(255),
})
  .unknown()
  .concat(attributes);

// Nearly all envelopes are as Warren builds them. What these two do not recognize goes through the schemas above, which know
// every form that is allowed, and say what is wrong with the others.

const UUID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/;
/** Characters that have at most `PROPERTY_BYTES` in UTF-8. */
const SHORT = 85;

const isText = (value: unknown, longest: number): boolean =>
  typeof value === 'string' && value !== '' && value.length <= longest;
const isTextIfAny = (value: unknown, longest: number): boolean =>
  value === undefined || isText(value, longest);

function isOrdinary(event: CloudEvent): boolean {
  return (
    UUID.test(event.id) &&
    isText(event.source, 255) &&
    isTextIfAny(event.subject, 255) &&
    isTextIfAny(event.correlationid, SHORT) &&
    isTextIfAny(event.causationid, SHORT) &&
    isTextIfAny(event.traceparent, 255)
  );
}

function isOrdinaryJson(json: Partial<Record<string, unknown>>): boolean {
  const { time } = json;
  return (
    json.specversion === '1.0' &&
    typeof json.id === 'string' &&
    isText(json.type, Number.POSITIVE_INFINITY) &&
    isText(json.dataschema, Number.POSITIVE_INFINITY) &&
    json.datacontenttype === 'application/json' &&
    json.data_base64 === undefined &&
    typeof time === 'string' &&
    isIsoInstant(time) &&
    isOrdinary(json as unknown as CloudEvent)
  );
}

/**
 * Builds an event to publish. The data must fit its contract to the letter: a producer's mistake is an error of the
 * producer, not of the consumers.
 * @throws {ContractError} naming the first field at fault: `invalid_data`, or `invalid_attribute` where it is of the envelope
 */
export function buildEvent<Data extends object>(
  definition: EventDefinition<Data>,
  parts: {
    id: string;
    source: string;
    time: Date;
    data: Data;
    subject?: string;
    correlationId?: string;
    causationId?: string;
    traceparent?: string;
  },
): CloudEvent<Data> {
  let data: object = parts.data;
  if (!definition.recognizes(data)) {
    const { error, value } = definition.schema.validate(data, { convert: false });
    if (error) throw invalid('invalid_data', definition.type, 'data', error);
    data = value;
  }
  const event: CloudEvent<Data> = {
    specversion: '1.0',
    id: parts.id,
    source: parts.source,
    type: definition.type,
    time: parts.time.toISOString(),
    datacontenttype: 'application/json',
    dataschema: definition.dataschema,
    ...(parts.subject !== undefined && { subject: parts.subject }),
    ...(parts.correlationId !== undefined && { correlationid: parts.correlationId }),
    ...(parts.causationId !== undefined && { causationid: parts.causationId }),
    ...(parts.traceparent !== undefined && { traceparent: parts.traceparent }),
    data: data as Data,
  };
  const outer = isOrdinary(event) ? undefined : own.validate(event, { convert: false });
  if (outer?.error) throw invalid('invalid_attribute', definition.type, '', outer.error);
  return event;
}

/**
 * Parses a message body as one of the accepted events, in any form that the JSON format of CloudEvents allows. Fields that
 * the contract does not know are dropped, extension attributes are kept.
 * @param published the `time` of an event that has none
 * @throws {ContractError} saying which field is wrong and why
 */
export function parseEvent<Data extends object = object>(
  content: Buffer,
  accepted: readonly AnyEvent[],
  published = new Date(),
): CloudEvent<Data> {
  const envelope = parseEnvelope(content);
  const { data, data_base64, ...event } = envelope;

  const definition = definitionOf(event, accepted);
  let inner = dataOf(envelope);
  if (!definition.recognizes(inner)) {
    const { error, value } = definition.schema.validate(inner, { convert: false, stripUnknown: true });
    if (error) throw invalid('invalid_data', definition.routingKey, 'data', error);
    inner = value;
  }
  return {
    ...event,
    time: event.time ?? published.toISOString(),
    datacontenttype: 'application/json',
    dataschema: definition.dataschema,
    data: inner as Data,
  };
}

/** The attributes and the data as they came; attributes that are null are left out. */
// biome-ignore lint/suspicious/noExplicitAny: an envelope has any extension
function parseEnvelope(content: Buffer): any {
  const json = parseJson(content, 'the body');
  // A null is an absent attribute: JSON format, section 2.2.
  const present = isObject(json)
    ? Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null))
    : json;
  if (isObject(present) && isOrdinaryJson(present as Record<string, unknown>)) return present;
  const basis = required.validate(present, { convert: false });
  if (basis.error) throw invalid('not_cloudevent', 'the message', '', basis.error);
  const outer = attributes.validate(basis.value, { convert: false });
  if (outer.error) throw invalid('invalid_attribute', 'the message', '', outer.error);
  return outer.value;
}

/** The accepted event of that type and version; without `dataschema` the only version there is. */
function definitionOf(
  { type, dataschema }: { type: string; dataschema?: string },
  accepted: readonly AnyEvent[],
): AnyEvent {
  const known = accepted.filter((definition) => definition.type === type);
  if (known.length === 0)
    throw new ContractError('unknown_type', `type: '${type}' is not consumed here`, 'type');
  const [definition, ...others] =
    dataschema === undefined ? known : known.filter((each) => each.dataschema === dataschema);
  if (definition !== undefined && others.length === 0) return definition;
  const versions = known.map((each) => each.dataschema).join(', ');
  throw new ContractError(
    'unknown_version',
    dataschema === undefined
      ? `dataschema: is missing, and more than one version is consumed here: ${versions}`
      : `dataschema: '${dataschema}' is not consumed here, only ${versions}`,
    'dataschema',
  );
}

/** The data, which may be JSON bytes in Base64: JSON format, section 3.1. */
function dataOf(event: { datacontenttype?: string; data?: unknown; data_base64?: unknown }): unknown {
  const { datacontenttype = 'application/json', data, data_base64: encoded } = event;
  const subtype = subtypeOf(datacontenttype) ?? '';
  if (subtype !== 'json' && !subtype.endsWith('+json'))
    throw new ContractError(
      'invalid_data',
      `datacontenttype: '${datacontenttype}' is not a media type of JSON`,
      'datacontenttype',
    );
  if (encoded === undefined) return data;
  if (data !== undefined)
    throw new ContractError('not_cloudevent', 'the message: has both data and data_base64', 'data_base64');
  if (typeof encoded !== 'string' || !BASE64.test(encoded))
    throw new ContractError('invalid_data', 'the message: data_base64 is not Base64', 'data_base64');
  return parseJson(Buffer.from(encoded, 'base64'), 'data_base64');
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function parseJson(content: Buffer, what: 'the body' | 'data_base64'): unknown {
  try {
    return JSON.parse(decodeUtf8(content));
  } catch (cause) {
    const reason = `${what} (${content.length} bytes) is not JSON: ${brief(cause)}`;
    throw what === 'the body'
      ? new ContractError('not_json', reason, undefined, { cause })
      : new ContractError('invalid_data', reason, what, { cause });
  }
}

function invalid(
  code: ContractError['code'],
  what: string,
  prefix: string,
  error: Joi.ValidationError,
): ContractError {
  const detail = error.details[0];
  const field = [prefix, ...(detail?.path ?? [])].filter((part) => part !== '').join('.');
  const reason = detail?.message.replace(/^"[^"]*" /, '') ?? error.message;
  return new ContractError(code, `${what}: ${field || 'it'} ${reason}`, field || undefined);
}

const brief = (error: unknown) => (error instanceof Error ? error.message : String(error)).slice(0, 200);
