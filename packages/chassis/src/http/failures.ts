// What an error means to the client.
import { isDatabaseUnavailable } from '../database/outage.ts';
import { Problem, problem, WarrenError } from '../errors.ts';

const RETRY = { 'retry-after': '1' };

// Serialization failure, deadlock, lock not available: the same request may well succeed now.
// https://www.postgresql.org/docs/current/errcodes-appendix.html
const CONTENTION = /^(40001|40P01|55P03)$/;

/** The answer to an error: its own if it is a problem, 503 for what passes by itself, and 500 that says nothing for all else. */
export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  // Nobody hears this one; it is what the trace shows.
  if (error instanceof WarrenError && error.code === 'client_gone')
    return problem(499, { title: 'Client gone', code: error.code });
  if (isDatabaseUnavailable(error)) {
    const detail = 'The database is unavailable; try again shortly.';
    return problem(503, { code: 'database_unavailable', detail, headers: RETRY, cause: error });
  }
  if (CONTENTION.test(String((error as { code?: unknown } | null)?.code))) {
    const detail = 'The request conflicted with a concurrent one; try again.';
    return problem(503, { code: 'contention', detail, headers: RETRY, cause: error });
  }
  const detail = 'Unexpected error; the log has it under the correlation id of this response.';
  return problem(500, { detail, cause: error });
}

export const overdue = (timeout: number): Problem =>
  problem(503, {
    title: 'Deadline exceeded',
    code: 'deadline_exceeded',
    detail: `The request did not complete within ${timeout} ms and was cancelled.`,
    headers: RETRY,
  });

export const tooSlow = (timeout: number): Problem =>
  problem(408, {
    detail: `The request was not received completely within ${timeout} ms.`,
    headers: { connection: 'close' },
  });
