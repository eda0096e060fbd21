// What the client gets for an error.
import { isDatabaseUnavailable } from '../database/outage.ts';
import { Problem, problem, RETRY_SHORTLY, WarrenError } from '../errors.ts';

// Serialization failure, deadlock, lock not available: a retry may succeed.
// https://www.postgresql.org/docs/current/errcodes-appendix.html
const CONTENTION = /^(40001|40P01|55P03)$/;

/** The problem of an error: the error itself if it is one, 503 if it is temporary, otherwise 500 without details. */
export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  // No client receives it; the trace shows it.
  if (error instanceof WarrenError && error.code === 'client_gone')
    return problem(499, { title: 'Client gone', code: error.code });
  if (isDatabaseUnavailable(error)) {
    const detail = 'The database is unavailable; try again shortly.';
    return problem(503, { code: 'database_unavailable', detail, headers: RETRY_SHORTLY, cause: error });
  }
  if (CONTENTION.test(String((error as { code?: unknown } | null)?.code))) {
    const detail = 'The request conflicted with a concurrent one; try again.';
    return problem(503, { code: 'contention', detail, headers: RETRY_SHORTLY, cause: error });
  }
  const detail = 'Unexpected error; the log has it under the correlation id of this response.';
  return problem(500, { detail, cause: error });
}
