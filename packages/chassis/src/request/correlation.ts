import { newId } from '../id.ts';

export const CORRELATION_HEADER = 'x-correlation-id';

// What survives every header, log and AMQP property it will travel through.
const SANE = /^[\w.:@/+=-]{1,128}$/;

/** The correlation id of a request: its own if it is sane, or a new one. */
export function correlationIdOf({ headers }: { headers: Record<string, unknown> }): string {
  const given = headers[CORRELATION_HEADER];
  return typeof given === 'string' && SANE.test(given) ? given : newId();
}
