import { newId } from '../id.ts';

export const CORRELATION_HEADER = 'x-correlation-id';

// Characters that are safe in every header, log and AMQP property.
const VALID_ID = /^[\w.:@/+=-]{1,128}$/;

/** The correlation id of a request: its own if it is valid, or a new one. */
export function correlationIdOf({ headers }: { headers: Record<string, unknown> }): string {
  const given = headers[CORRELATION_HEADER];
  return typeof given === 'string' && VALID_ID.test(given) ? given : newId();
}
