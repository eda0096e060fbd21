// Every error Warren raises on its own account: a stable code, and for the reader of the docs its cause and remedy.
import { STATUS_CODES } from 'node:http';

export const catalogue = {
  config_invalid: {
    cause: 'The environment does not fit the configuration of the service.',
    remedy: 'Each line of the message names one variable, what it should be and what it was.',
  },
  port_taken: {
    cause: 'Another process listens on that port.',
    remedy: 'Stop it, or set PORT or ADMIN_PORT to a free one.',
  },
  listen_failed: {
    cause: 'The operating system refused to listen on that port, or on LISTEN_HOST.',
    remedy:
      'Ports below 1024 need a privilege, and LISTEN_HOST is an address of this machine; the cause says what was refused.',
  },
  invalid_route: {
    cause:
      'A route of the service is described wrongly: twice the same, or an alias that takes other parameters.',
    remedy: 'Mend the description in routes.ts; the message names the route.',
  },
  owner_unnamed: {
    cause: "A route with `access: 'own'` answered, and its handler had not named the owner of the data.",
    remedy:
      'Call authorise(owner) in the handler, as soon as it has loaded the row; the message names the route.',
  },
  deadline_exceeded: {
    cause: 'A request was not done within REQUEST_TIMEOUT. Its transaction was rolled back.',
    remedy:
      'Look for the slow statement in the trace of that correlation id; raise REQUEST_TIMEOUT if it is due.',
  },
  client_gone: {
    cause: 'The client closed the connection before it had its answer.',
    remedy: 'Nothing to do here; look at the timeouts of the client.',
  },
  database_unavailable: {
    cause: 'The database does not answer, or takes no more connections.',
    remedy: 'Check DATABASE_URL and the server; the service mends itself when it is back.',
  },
  database_unsuitable: {
    cause: 'What answers at DATABASE_URL cannot do what a service needs, e.g. PgBouncer in transaction mode.',
    remedy: 'Point DATABASE_URL at PostgreSQL 15 or newer itself, or at a pooler in session mode.',
  },
  migration_failed: {
    cause: 'A migration was refused by the database; it was rolled back as a whole.',
    remedy: 'The message names the file, the cause says what PostgreSQL refused.',
  },
  broker_unavailable: {
    cause: 'The broker does not answer.',
    remedy: 'Check AMQP_URL and the server; the service mends itself when it is back.',
  },
  method_unserved: {
    cause: 'A method was asked that no service has ever served on this broker.',
    remedy: 'Start the service it is named after, in a version that serves it; its queue keeps the binding.',
  },
  request_timed_out: {
    cause: 'Another service did not answer a request over the broker in time.',
    remedy: 'Look at that service: whether it runs, and its rpc_handling_duration_seconds.',
  },
  reply_invalid: {
    cause:
      'Another service answered a request over the broker with something that does not fit its contract.',
    remedy: 'The log names the field; a breaking change of a method is a new version of it.',
  },
  too_many_requests_pending: {
    cause: 'This replica waits for as many replies as it may.',
    remedy: 'Try again shortly; when it lasts, look at the services it asks.',
  },
  topology_missing: {
    cause:
      'The broker lacks exchanges that belong to the platform, and the user of the service may not make them.',
    remedy: 'Import the definitions file: charts/rabbitmq/files/definitions.json.',
  },
  topology_refused: {
    cause: 'The broker refused to declare or bind something of the service.',
    remedy:
      'Compare the permissions of its user with the definitions file, and the arguments with what exists.',
  },
  publish_refused: {
    cause: 'The broker refused an event for good: no permission, no exchange, or too large.',
    remedy: 'The event is parked in warren.outbox; mend the cause and clear its parked_at.',
  },
  invalid_service: {
    cause: 'The description of a service contradicts itself.',
    remedy: 'Mend service.ts; the message says what and where.',
  },
  event_refused: {
    cause: 'An event was emitted that the service does not declare, or that is larger than 1 MiB.',
    remedy: 'Add it to the publications in broker.ts, or send a reference in place of the content.',
  },
  shutdown_overdue: {
    cause: 'Work in hand was not done within SHUTDOWN_GRACE.',
    remedy: 'Nothing is lost: it is rolled back and comes again. Raise SHUTDOWN_GRACE if it happens often.',
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

/** All mistakes of an environment at once: one line each. */
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

/** What was thrown, as an error with a message: anything can be thrown. */
export function asError(thrown: unknown): Error {
  if (thrown instanceof Error && typeof thrown.message === 'string') return thrown;
  const said =
    typeof thrown === 'object' && thrown !== null ? (thrown as { message?: unknown }).message : thrown;
  return new Error(typeof said === 'string' ? said : `what was thrown is no error: ${typeof thrown}`);
}

/** What is wrong with one field of the input. */
export interface FieldError {
  path: string;
  message: string;
}

export interface ProblemOptions {
  /** In a word or two, the same for every occurrence; the name of the status when absent. */
  title?: string;
  /** What went wrong this time, and the way out. */
  detail?: string;
  /** Stable, for programs; the name of the status in snake_case when absent. */
  code?: string;
  errors?: FieldError[];
  headers?: Record<string, string>;
  cause?: unknown;
}

/** An error that is an answer: RFC 9457 `application/problem+json`. Never holds what the client must not see. */
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
 * @example throw problem(404, { detail: `There is no user ${id}.` })
 * @example throw problem(404, { code: 'user_unknown', detail, headers: { 'retry-after': '1' } })
 */
export function problem(status: number, options?: ProblemOptions): Problem {
  return new Problem(status, options);
}
