// Which errors mean that the database is unavailable, and which belong to the statement that failed. The class of an error decides:
// a list of known outages would blame the message for every one that it does not have.

import { WarrenError } from '../errors.ts';
import { maskCredentials } from '../redact.ts';

/** A connection cannot be opened, for any reason: wrong password, no such database, no free slot, no server. */
export class ConnectError extends WarrenError {
  override readonly name = 'ConnectError';
  constructor(cause: unknown) {
    super('database_unavailable', reasonOf(cause), { cause });
  }
}

/**
 * Connection exceptions, invalid authorization, invalid catalog name, insufficient resources, operator intervention, system
 * errors; object not in prerequisite state (a database that takes no connections), read-only transaction (a standby).
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
const OUTAGE = /^(08...|28...|3D...|53...|57...|58...|55000|25006)$/;
/** A statement's own: query canceled (a statement time-out, for one). */
const STATEMENT = /^57014$/;
const NO_SPACE = /^53100$/;
/** Of Node.js, and of postgres.js. */
const SOCKET =
  /^(CONNECTION_(CLOSED|ENDED|DESTROYED)|CONNECT_TIMEOUT)$|^E(CONNREFUSED|CONNRESET|CONNABORTED|PIPE|TIMEDOUT|NOTFOUND|AI_AGAIN|HOSTUNREACH|HOSTDOWN|NETUNREACH|NETDOWN|NETRESET)$/;
/** Of a Unix socket; of a file they mean something else. */
const UNIX_SOCKET = /^(ENOENT|EACCES)$/;
const LOST =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed|Client is not queryable)/;

const PRISMA = /^P[1-9]...$/;
/** Not reachable, timed out, connection closed, no connection left in the pool. https://www.prisma.io/docs/orm/reference/error-reference */
const PRISMA_OUTAGE = /^P(1001|1002|1008|1017|2024)$/;
const SQLSTATE = /^[\dA-Z]{5}$/;

/** Causes that are looked through: one may be its own. */
const DEPTH = 5;

/** True for an error that means the database is unavailable: it is not the fault of the message or the request that met it. */
export const isDatabaseUnavailable = (error: unknown): boolean => some(error, isOutage);

/** True where the server has no room on its disk: it still reads. */
export const isOutOfSpace = (error: unknown): boolean =>
  some(error, (one) => NO_SPACE.test(String((one as { code?: unknown }).code)));

/** The SQLSTATE of an error, or of its cause: some ORMs wrap the error of the driver. */
export function sqlStateOf(error: unknown, depth = 0): string | undefined {
  if (typeof error !== 'object' || error === null || depth > DEPTH) return undefined;
  const code = codeOf(error);
  if (code !== undefined && SQLSTATE.test(code) && !PRISMA.test(code)) return code;
  return sqlStateOf((error as { cause?: unknown }).cause, depth + 1);
}

/** Prisma has a code of its own, and keeps that of PostgreSQL apart. */
function codeOf(error: object): string | undefined {
  const { code, meta } = error as {
    code?: unknown;
    meta?: { driverAdapterError?: { cause?: { originalCode?: unknown } } };
  };
  const original = meta?.driverAdapterError?.cause?.originalCode;
  return [original, code].find((each) => typeof each === 'string') as string | undefined;
}

function isOutage(error: Error): boolean {
  if (error instanceof ConnectError) return true;
  const code = codeOf(error);
  if (code !== undefined) {
    const { syscall } = error as { syscall?: unknown };
    if (OUTAGE.test(code) && !STATEMENT.test(code)) return true;
    if (SOCKET.test(code) || PRISMA_OUTAGE.test(code) || (UNIX_SOCKET.test(code) && syscall === 'connect'))
      return true;
  }
  return LOST.test(String(error.message));
}

function some(error: unknown, test: (error: Error) => boolean, depth = 0): boolean {
  if (!(error instanceof Error) || depth > DEPTH) return false;
  if (test(error)) return true;
  const causes = error instanceof AggregateError ? error.errors : [error.cause];
  return causes.some((cause) => some(cause, test, depth + 1));
}

/** An error in one line without secrets, at most 300 characters. */
export function reasonOf(error: unknown, depth = 0): string {
  if (!(error instanceof Error)) return String(error).slice(0, 300);
  // Node's for several addresses of one name has no message of its own.
  if (error instanceof AggregateError && error.message === '' && depth < DEPTH)
    return [...new Set(error.errors.map((one) => reasonOf(one, depth + 1)))].join(', ').slice(0, 300);
  const { code } = error as { code?: unknown };
  const text = String(error.message) || String(code ?? error.name);
  return maskCredentials(text.replace(/\s+/g, ' ')).slice(0, 300);
}
