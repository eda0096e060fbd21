// What requests and replies look like on the wire, and what of it may be believed.
import type { Joi } from '@warren/events';
import type { Options } from 'amqplib/callback_api';
import { ANONYMOUS, type Caller, identified } from '../auth/caller.ts';
import { rolesOf } from '../auth/verify.ts';
import { type FieldError, Problem } from '../errors.ts';
import type { RascalMessage } from '../messaging/rascal/rascal.ts';
import { CORRELATION_HEADER, correlationIdOf } from '../request/correlation.ts';
import { fieldErrors, inspect } from '../request/validation.ts';
import { isTraceparent } from '../telemetry/tracing.ts';

export const JSON_TYPE = 'application/json';
/** The ms that whoever asks waits, from when it sent the request. */
export const TIMEOUT_HEADER = 'x-warren-timeout';
/** On whose behalf; accepted of AUTH_GATEWAY alone. */
export const SUBJECT_HEADER = 'x-warren-subject';
/** A list of strings. */
export const ROLES_HEADER = 'x-warren-roles';
/** ms; nobody is waited for longer. */
export const LONGEST_TIMEOUT = 60_000;
/** Bytes, as of an event. */
export const LARGEST = 1024 * 1024;

/** A request as it came in. */
export interface RpcRequest {
  /** The reply names it as its correlation id. */
  id: string;
  replyTo: string;
  /** The service whose reply queue that is. */
  caller: string;
  /** ms from its arrival. It was younger than that when the broker gave it away: no clock of another machine is needed. */
  timeout: number;
  correlationId: string;
  traceparent: string | undefined;
}

/** Bytes of an AMQP short string, at most. */
const SHORT_STRING = 255;

/** Replies go to reply queues only, so that nobody has a service publish requests in its name. */
const REPLY_QUEUE = /^[a-z][a-z0-9-]*\.reply\.[^*#]{1,200}$/;

/** @returns undefined where nobody could be answered */
export function requestOf({ properties }: RascalMessage): RpcRequest | undefined {
  const { messageId, replyTo, headers = {} } = properties;
  if (typeof messageId !== 'string' || !/^.{1,128}$/.test(messageId)) return undefined;
  if (typeof replyTo !== 'string' || !REPLY_QUEUE.test(replyTo)) return undefined;
  // What came in as bytes that are no UTF-8 is longer on its way back.
  if (Math.max(Buffer.byteLength(messageId), Buffer.byteLength(replyTo)) > SHORT_STRING) return undefined;
  const { [TIMEOUT_HEADER]: timeout, traceparent } = headers;
  if (typeof timeout !== 'number' || !(timeout > 0)) return undefined;
  return {
    id: messageId,
    replyTo,
    caller: replyTo.split('.', 1)[0] as string,
    timeout: Math.min(timeout, LONGEST_TIMEOUT),
    correlationId: correlationIdOf({ headers }),
    traceparent: typeof traceparent === 'string' && isTraceparent(traceparent) ? traceparent : undefined,
  };
}

/** What the headers of a request say of the caller on whose behalf it is sent. */
export const behalfOf = ({ kind, subject, roles }: Caller): Record<string, unknown> =>
  kind === 'anonymous'
    ? {}
    : { ...(subject !== undefined && { [SUBJECT_HEADER]: subject }), [ROLES_HEADER]: roles };

/** The caller whom the headers name. */
export function callerIn({ properties }: RascalMessage): Caller {
  const { [SUBJECT_HEADER]: subject, [ROLES_HEADER]: roles } = properties.headers ?? {};
  if (!Array.isArray(roles)) return ANONYMOUS;
  return identified(typeof subject === 'string' ? subject : undefined, rolesOf(roles));
}

/** What both ways have in common. @param timeout ms after which the broker may forget the message */
export const properties = (of: {
  messageId: string;
  type: string;
  appId: string;
  /** The broker user of whoever publishes it. */
  userId: string;
  correlationId: string;
  traceparent: string | undefined;
  timeout: number;
}): Options.Publish & { headers: Record<string, unknown> } => ({
  messageId: of.messageId,
  type: of.type,
  appId: of.appId,
  userId: of.userId,
  persistent: false,
  expiration: Math.max(1, Math.ceil(of.timeout)),
  headers: {
    [CORRELATION_HEADER]: of.correlationId,
    ...(of.traceparent !== undefined && { traceparent: of.traceparent }),
  },
});

/** @throws {SyntaxError | TypeError} when it is no JSON in UTF-8 */
export const parse = (content: Buffer): unknown => JSON.parse(utf8.decode(content));
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Checks data from another service: nothing is converted, and fields that the contract does not know are dropped. */
export function check(
  schema: Joi.Schema,
  data: unknown,
  whole: string,
): { value: object; errors: FieldError[] } {
  const { unsound } = inspect(data);
  if (unsound !== undefined) return { value: {}, errors: [unsound] };
  const { error, value } = schema.validate(data, OPTIONS);
  return { value, errors: fieldErrors(error, whole) };
}
const OPTIONS: Joi.ValidationOptions = {
  convert: false,
  stripUnknown: { objects: true },
  errors: { wrap: { label: false } },
};

/** The problem that a service answered with; undefined when it is none. */
export function problemOf(body: unknown): Problem | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const { status, title, code, detail, errors } = body as Record<string, unknown>;
  if (!Number.isInteger(status) || (status as number) < 400 || (status as number) > 599) return undefined;
  if (typeof title !== 'string' || typeof code !== 'string') return undefined;
  return new Problem(status as number, {
    title,
    code,
    ...(typeof detail === 'string' && { detail }),
    ...(Array.isArray(errors) && errors.every(isFieldError) && { errors }),
  });
}

const isFieldError = (value: unknown): value is FieldError =>
  typeof (value as FieldError | null)?.path === 'string' && typeof (value as FieldError).message === 'string';
