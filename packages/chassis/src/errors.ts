// The errors that Warren itself raises, each with a stable code, its cause and its remedy.
import { STATUS_CODES } from 'node:http';

export const catalogue = {
  config_invalid: {
    cause: 'The environment does not match the configuration schema of the service.',
    remedy: 'Fix the variables: each line of the message names one, the expected value and the actual value.',
  },
  port_taken: {
    cause: 'Another process listens on the port.',
    remedy: 'Stop that process, or set PORT or ADMIN_PORT to a free port.',
  },
  listen_failed: {
    cause: 'The operating system refused to listen on the port, or on LISTEN_HOST.',
    remedy:
      'See the cause. Ports below 1024 need a privilege, and LISTEN_HOST must be an address of this machine.',
  },
  invalid_route: {
    cause: 'A route of the service is invalid, e.g. it is defined twice, or its alias has other parameters.',
    remedy: 'Fix the definition in routes.ts; the message names the route.',
  },
  owner_unnamed: {
    cause: "The handler of a route with `access: 'own'` responded without naming the owner of the data.",
    remedy: 'Call authorise(owner) in the handler after it has loaded the row; the message names the route.',
  },
  deadline_exceeded: {
    cause: 'A request did not complete within REQUEST_TIMEOUT. Its transaction was rolled back.',
    remedy:
      'Find the slow statement in the trace of the correlation id. Raise REQUEST_TIMEOUT if the request needs longer.',
  },
  client_gone: {
    cause: 'The client closed the connection before it received the response.',
    remedy: 'None in the service; check the timeouts of the client.',
  },
  database_unavailable: {
    cause: 'The database does not respond, or accepts no more connections.',
    remedy: 'Check DATABASE_URL and the server. The service reconnects by itself.',
  },
  database_unsuitable: {
    cause: 'The server at DATABASE_URL lacks a required feature, e.g. PgBouncer in transaction mode.',
    remedy: 'Set DATABASE_URL to PostgreSQL 15 or newer, or to a pooler in session mode.',
  },
  migration_failed: {
    cause: 'The database refused a migration. All its statements were rolled back.',
    remedy: 'The message names the file; the cause is the error of PostgreSQL.',
  },
  broker_unavailable: {
    cause: 'The broker does not respond.',
    remedy: 'Check AMQP_URL and the server. The service reconnects by itself.',
  },
  method_unserved: {
    cause: 'A method was called for which no service has bound a queue on this broker.',
    remedy: 'Start the service that handles the method, in a version that knows it.',
  },
  request_timed_out: {
    cause: 'Another service did not respond to an RPC request in time.',
    remedy: 'Check that the service runs, and its metric rpc_handling_duration_seconds.',
  },
  reply_invalid: {
    cause: 'The reply of another service does not match the contract of the method.',
    remedy: 'The log names the field. A breaking change of a method needs a new version of the method.',
  },
  too_many_requests_pending: {
    cause: 'This replica has reached its limit of RPC requests in flight.',
    remedy: 'Retry shortly. If it persists, check the services that it calls.',
  },
  topology_missing: {
    cause:
      'The broker lacks exchanges that belong to the platform, and the user of the service may not declare them.',
    remedy: 'Import the definitions file: charts/rabbitmq/files/definitions.json.',
  },
  topology_refused: {
    cause: 'The broker refused to declare or bind an object of the service.',
    remedy:
      'Compare the permissions of its user with the definitions file, and the arguments with those of the existing object.',
  },
  publish_refused: {
    cause: 'The broker permanently refused an event: no permission, no exchange, or too large.',
    remedy: 'The event is parked in warren.outbox. Fix the cause, then clear its parked_at.',
  },
  invalid_service: {
    cause: 'The definition of a service is inconsistent.',
    remedy: 'Fix service.ts; the message names the inconsistency.',
  },
  event_refused: {
    cause: 'The service emitted an event that it does not declare, or that is larger than 1 MiB.',
    remedy: 'Add the event to the publications in broker.ts, or send a reference instead of the content.',
  },
  transaction_missing: {
    cause: 'An event was emitted on a handle that is not an open transaction.',
    remedy:
      'Pass the handle of the transaction (tx), not the connection (db), and await emit before it ends.',
  },
  schema_missing: {
    cause: "The database has no tables of Warren's.",
    remedy: 'Apply the migrations: npx warren-migrate, or migrate() of @warren/chassis/migrations.',
  },
  shutdown_overdue: {
    cause: 'Work in flight did not complete within SHUTDOWN_GRACE.',
    remedy: 'Nothing is lost: the work is rolled back and redone. Raise SHUTDOWN_GRACE if it happens often.',
  },
} as const satisfies Record<string, { cause: string; remedy: string }>;

export type ErrorCode = keyof typeof catalogue;

export class WarrenError extends Error {
  override readonly name: string = 'WarrenError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** All mistakes of an environment, one line each. */
export class ConfigError extends WarrenError {
  override readonly name = 'ConfigError';
  readonly mistakes: readonly string[];

  constructor(mistakes: readonly string[]) {
    super(
      'config_invalid',
      `The environment has ${count(mistakes.length)}:\n${mistakes.map((line) => `  ${line}`).join('\n')}`,
    );
    this.mistakes = mistakes;
  }
}

const count = (mistakes: number): string => (mistakes === 1 ? 'a mistake' : `${mistakes} mistakes`);

/** Turns a thrown value of any type into an error with a message. */
export function asError(thrown: unknown): Error {
  if (thrown instanceof Error && typeof thrown.message === 'string') return thrown;
  const said =
    typeof thrown === 'object' && thrown !== null ? (thrown as { message?: unknown }).message : thrown;
  return new Error(
    typeof said === 'string' ? said : `a value that is not an error was thrown: ${typeof thrown}`,
  );
}

/** One invalid field of the input. */
export interface FieldError {
  path: string;
  message: string;
}

export interface ProblemOptions {
  /** Short and the same for every occurrence. Default: the name of the status. */
  title?: string;
  /** What went wrong in this case, and how to fix it. */
  detail?: string;
  /** Stable, for programs. Default: the name of the status in snake_case. */
  code?: string;
  errors?: FieldError[];
  headers?: Record<string, string>;
  cause?: unknown;
}

/** The media type of problems. */
export const PROBLEM_TYPE = 'application/problem+json';

/** The header of a refusal that passes by itself within a second or so. */
export const RETRY_SHORTLY: Readonly<Record<string, string>> = Object.freeze({ 'retry-after': '1' });

/** An error that is sent to the client: RFC 9457 `application/problem+json`. It must not contain secrets. */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly status: number;
  readonly title: string;
  readonly code: string;
  readonly detail: string | undefined;
  readonly errors: FieldError[] | undefined;
  readonly headers: Record<string, string>;

  constructor(status: number, options: ProblemOptions = {}) {
    const title = options.title ?? STATUS_CODES[status] ?? 'Error';
    super(options.detail ?? title, { cause: options.cause });
    this.status = status;
    this.title = title;
    this.code = options.code ?? (STATUS_CODES[status] ?? 'error').toLowerCase().replace(/[^a-z]+/g, '_');
    this.detail = options.detail;
    this.errors = options.errors;
    this.headers = options.headers ?? {};
  }

  toJSON(): object {
    const { title, status, code, detail, errors } = this;
    return { title, status, code, detail, errors };
  }
}

/**
 * @example throw problem(404, { detail: `User ${id} does not exist.` })
 * @example throw problem(404, { code: 'user_unknown', detail, headers: { 'retry-after': '1' } })
 */
export function problem(status: number, options?: ProblemOptions): Problem {
  return new Problem(status, options);
}
