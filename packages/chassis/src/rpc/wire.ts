// The format of requests and replies on the broker, and which of their fields can be trusted.
import type { Joi } from '@warren/events';
import type { Options } from 'amqplib/callback_api';
import { ANONYMOUS, type Caller, identified, rolesOf } from '../auth/caller.ts';
import { type FieldError, Problem } from '../errors.ts';
import type { RascalMessage } from '../messaging/rascal/rascal.ts';
import { CORRELATION_HEADER, correlationIdOf } from '../request/correlation.ts';
import { fieldErrors, inspect } from '../request/validation.ts';
import { isTraceparent } from '../telemetry/tracing.ts';

export const JSON_TYPE = 'application/json';
/** ms that the caller waits from the moment it sends the request. */
export const TIMEOUT_HEADER = 'x-warren-timeout';
/** The user on whose behalf the call is made; accepted only from AUTH_GATEWAY. */
export const SUBJECT_HEADER = 'x-warren-subject';
/** A list of strings. */
export const ROLES_HEADER = 'x-warren-roles';
export const MAX_TIMEOUT_MS = 60_000;
/** The same limit as that of an event. */
export const MAX_MESSAGE_BYTES = 1024 * 1024;

/** A request that has arrived. */
export interface RpcRequest {
  /** The correlation id of the reply. */
  id: string;
  replyTo: string;
  /** The service that owns the reply queue. */
  caller: string;
  /** ms from its arrival. The broker expires older requests, so no clock synchronisation is needed. */
  timeout: number;
  correlationId: string;
  traceparent: string | undefined;
}

/** The limit of an AMQP short string. */
const SHORT_STRING_BYTES = 255;

/** Replies go only to reply queues. Otherwise a caller could make a service publish requests in its name. */
const REPLY_QUEUE = /^[a-z][a-z0-9-]*\.reply\.[^*#]{1,200}$/;

/** @returns undefined if no reply is possible */
export function requestOf({ properties }: RascalMessage): RpcRequest | undefined {
  const { messageId, replyTo, headers = {} } = properties;
  if (typeof messageId !== 'string' || !/^.{1,128}$/.test(messageId)) return undefined;
  if (typeof replyTo !== 'string' || !REPLY_QUEUE.test(replyTo)) return undefined;
  // Invalid UTF-8 becomes longer when it is sent back.
  if (Math.max(Buffer.byteLength(messageId), Buffer.byteLength(replyTo)) > SHORT_STRING_BYTES)
    return undefined;
  const { [TIMEOUT_HEADER]: timeout, traceparent } = headers;
  if (typeof timeout !== 'number' || !(timeout > 0)) return undefined;
  return {
    id: messageId,
    replyTo,
    caller: replyTo.split('.', 1)[0] as string,
    timeout: Math.min(timeout, MAX_TIMEOUT_MS),
    correlationId: correlationIdOf({ headers }),
    traceparent: typeof traceparent === 'string' && isTraceparent(traceparent) ? traceparent : undefined,
  };
}

/** Headers that name the caller on whose behalf a request is sent. */
export const behalfOf = ({ kind, subject, roles }: Caller): Record<string, unknown> =>
  kind === 'anonymous'
    ? {}
    : { ...(subject !== undefined && { [SUBJECT_HEADER]: subject }), [ROLES_HEADER]: roles };

/** The caller that the headers name. */
export function callerIn({ properties }: RascalMessage): Caller {
  const { [SUBJECT_HEADER]: subject, [ROLES_HEADER]: roles } = properties.headers ?? {};
  if (!Array.isArray(roles)) return ANONYMOUS;
  return identified(typeof subject === 'string' ? subject : undefined, rolesOf(roles));
}

/** Properties of requests and replies. @param timeout ms after which the broker may drop the message */
export const properties = (of: {
  messageId: string;
  type: string;
  appId: string;
  /** The broker user of the publisher. */
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

/** @throws {SyntaxError | TypeError} if it is not JSON in UTF-8 */
export const parse = (content: Buffer): unknown => JSON.parse(utf8.decode(content));
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Checks data from another service: converts nothing, and drops fields that the contract does not have. */
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

/** The problem in a reply; undefined if the body is not a valid problem. */
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

/** What client and server report: seconds from a request to its reply, and replies that nobody waits for. */
export interface RpcMetrics {
  rpcDuration: { observe(labels: { method: string; outcome: string }, seconds: number): void };
  rpcHandlingDuration: { observe(labels: { method: string; outcome: string }, seconds: number): void };
  rpcRepliesDropped: { inc(): void };
}
