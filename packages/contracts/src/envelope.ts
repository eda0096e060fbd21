// The envelope every event travels in: CloudEvents 1.0, structured JSON. Built and parsed here and nowhere else.
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
import Joi from 'joi';
import { type AnyEvent, type EventDefinition, uuid } from './event.ts';
import { decodeUtf8 } from './utf8.ts';

export const CONTENT_TYPE = 'application/cloudevents+json';

export interface CloudEvent<Data extends object = object> {
  specversion: '1.0';
  /** UUID; also the AMQP `messageId`, and what the inbox remembers. */
  id: string;
  /** The service that published it, e.g. `/user`. */
  source: string;
  type: string;
  /** When it happened, ISO 8601 in UTC. */
  time: string;
  datacontenttype: 'application/json';
  dataschema: string;
  /** Id of the aggregate it is about: events of one subject are published in the order of their commits. */
  subject?: string;
  correlationid?: string;
  traceparent?: string;
  data: Data;
}

/** Why a message is no event that this consumer understands. No retry will mend it. */
export class ContractError extends Error {
  override readonly name = 'ContractError';
  readonly code: 'not_json' | 'not_cloudevent' | 'unknown_type' | 'unknown_version' | 'invalid_data';
  /** Path of the field at fault, e.g. `data.email`; absent when the whole message is. */
  readonly field?: string;

  constructor(code: ContractError['code'], message: string, field?: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    if (field !== undefined) this.field = field;
  }
}

/** ISO 8601 knows offsets such as `+01` that Date does not. */
function readable(value: string, { error }: Joi.CustomHelpers): unknown {
  return Number.isNaN(Date.parse(value)) ? error('string.isoDate') : value;
}

const envelope = Joi.object({
  specversion: Joi.valid('1.0').required(),
  id: uuid().required(),
  source: Joi.string().max(255).required(),
  type: Joi.string().max(255).required(),
  time: Joi.string().isoDate().custom(readable).required(),
  datacontenttype: Joi.valid('application/json'),
  dataschema: Joi.string().max(255).required(),
  subject: Joi.string().max(255),
  correlationid: Joi.string().max(255, 'utf8'), // travels as an AMQP property, which has 255 bytes at most
  traceparent: Joi.string().max(255),
  data: Joi.object().unknown().required(),
})
  .unknown()
  .required();

/**
 * Builds an event to publish. The data must fit its contract to the letter: a producer's mistake is an error of the
 * producer, not of whoever hears it.
 * @throws {ContractError} naming the first field at fault: `invalid_data`, or `not_cloudevent` where it is of the envelope
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
    traceparent?: string;
  },
): CloudEvent<Data> {
  const { error, value } = definition.schema.validate(parts.data, { convert: false });
  if (error) throw invalid('invalid_data', definition.type, 'data', error);
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
    ...(parts.traceparent !== undefined && { traceparent: parts.traceparent }),
    data: value as Data,
  };
  const outer = envelope.validate(event, { convert: false });
  if (outer.error) throw invalid('not_cloudevent', definition.type, '', outer.error);
  return event;
}

/**
 * Parses a message body as one of the accepted events. Fields that the contract does not know are dropped.
 * @throws {ContractError} saying which field is wrong and why
 */
export function parseEvent<Data extends object = object>(
  content: Buffer,
  accepted: readonly AnyEvent[],
): CloudEvent<Data> {
  let json: unknown;
  try {
    json = JSON.parse(decodeUtf8(content));
  } catch (cause) {
    throw new ContractError(
      'not_json',
      `the body (${content.length} bytes) is not JSON: ${brief(cause)}`,
      undefined,
      { cause },
    );
  }
  const outer = envelope.validate(json, { convert: false });
  if (outer.error) throw invalid('not_cloudevent', 'the message', '', outer.error);
  const event = outer.value as CloudEvent<Data>;

  const definition = accepted.find(({ dataschema }) => dataschema === event.dataschema);
  const known = accepted.filter(({ type }) => type === event.type);
  if (known.length === 0)
    throw new ContractError('unknown_type', `type: '${event.type}' is not consumed here`, 'type');
  if (definition === undefined || definition.type !== event.type) {
    const versions = known.map(({ dataschema }) => dataschema).join(', ');
    throw new ContractError(
      'unknown_version',
      `dataschema: '${event.dataschema}' is not consumed here, only ${versions}`,
      'dataschema',
    );
  }
  const inner = definition.schema.validate(event.data, { convert: false, stripUnknown: true });
  if (inner.error) throw invalid('invalid_data', definition.routingKey, 'data', inner.error);
  return { ...event, data: inner.value as Data };
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
