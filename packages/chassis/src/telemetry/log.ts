// Logs one JSON object per line on standard output, without secrets.
import pino from 'pino';
import type { Logger } from '../context.ts';
import { asError } from '../errors.ts';
import { maskAndCut, maskCredentials, maskSecrets } from '../redact.ts';

/**
 * A pino logger. Bind `correlationId`, `traceId` and `eventId` by child loggers.
 * @param options.stream receives the lines in tests; default: standard output
 */
export function createLog(options: {
  service: string;
  version: string;
  level: string;
  stream?: { write(line: string): void };
}): Logger {
  const { service, version, level, stream } = options;
  return pino(
    {
      level,
      base: { service, version },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => maskSecrets(fields) as typeof fields,
      },
      serializers: { err: describeError, error: describeError },
      hooks: {
        logMethod(args, method) {
          const given = args.map((arg) => (typeof arg === 'string' ? maskCredentials(arg) : arg));
          const error = args[0] instanceof Error ? args[0] : (args[0] as { err?: unknown } | null)?.err;
          // Without a message, pino would log the unmasked message of the error.
          if (given.length === 1 && error instanceof Error) given.push(maskAndCut(asError(error).message));
          method.apply(this, given as typeof args);
        },
      },
    },
    stream ?? standardOutput(),
  );
}

let output: ReturnType<typeof openStandardOutput> | undefined;
function standardOutput(): ReturnType<typeof openStandardOutput> {
  output ??= openStandardOutput();
  return output;
}

/** Writes the lines of one turn of the event loop at once, and the rest at exit. A kill loses the lines of one turn. */
function openStandardOutput(): { write(line: string): void } {
  const out = pino.destination({ fd: 1, sync: true });
  let lines = '';
  const flush = () => {
    if (lines !== '') out.write(lines);
    lines = '';
  };
  process.once('exit', flush);
  return {
    write(line) {
      if (lines === '') setImmediate(flush);
      lines += line;
    },
  };
}

// Fields that show where an error comes from. Its other fields (connection settings, request bodies, rows) may hold secrets, and are
// not logged.
const LOGGED_FIELDS = [
  ...['code', 'status', 'syscall', 'address', 'port', 'field', 'mistakes'],
  ...[
    'severity',
    'schema',
    'table',
    'column',
    'constraint',
    'routine',
    'replyCode',
    'replyText',
    'classId',
    'methodId',
  ],
];

/** An error for a log line: type, message, stack, origin and causes. */
export function describeError(error: unknown): unknown {
  try {
    return describe(error, 0);
  } catch {
    // A getter that throws, or a value without a text, must not break the log.
    return { type: 'Error', message: 'an error that cannot be described' };
  }
}

function describe(error: unknown, depth: number): unknown {
  if (!(error instanceof Error)) return typeof error === 'string' ? maskAndCut(error) : error;
  const fields: Record<string, unknown> = { type: error.name, message: maskAndCut(asError(error).message) };
  for (const name of LOGGED_FIELDS) {
    const value = (error as unknown as Record<string, unknown>)[name];
    if (value !== undefined && typeof value !== 'function') {
      fields[name] = typeof value === 'string' ? maskAndCut(value) : value;
    }
  }
  if (typeof error.stack === 'string') fields.stack = maskAndCut(error.stack);
  if (depth < 5) {
    if (error.cause !== undefined) fields.cause = describe(error.cause, depth + 1);
    if (error instanceof AggregateError) fields.errors = error.errors.map((one) => describe(one, depth + 1));
  }
  return fields;
}
