// One JSON object a line on standard output; secrets stay out of it.
import pino from 'pino';
import type { Logger } from '../context.ts';
import { asError } from '../errors.ts';
import { maskAndCut, maskCredentials, maskSecrets } from '../redact.ts';

/**
 * A pino logger. Bind `correlationId`, `traceId` and `eventId` by child loggers.
 * @param options.stream for tests: whatever takes lines; standard output when absent
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
          // Without a message pino takes the error's own.
          if (given.length === 1 && error instanceof Error) given.push(maskAndCut(asError(error).message));
          method.apply(this, given as typeof args);
        },
      },
    },
    stream ?? standardOutput(),
  );
}

/** A child logger, made when somebody logs: most requests and events log nothing but their end. */
export function childOf(log: Logger, fields: () => object): () => Logger {
  let child: Logger | undefined;
  return () => {
    child ??= log.child(fields());
    return child;
  };
}

let output: ReturnType<typeof openStandardOutput> | undefined;
function standardOutput(): ReturnType<typeof openStandardOutput> {
  output ??= openStandardOutput();
  return output;
}

/** The lines of one turn of the event loop in one write; what is left when the process exits, then. A kill loses a turn. */
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

// What says where an error comes from. Everything else an error drags along (connection settings, request bodies, rows)
// may hold secrets, and stays out of the log.
const TELLING = [
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

/** An error as a log line shows it: type, message, stack, what tells where it comes from, and its causes. */
export function describeError(error: unknown): unknown {
  try {
    return describe(error, 0);
  } catch {
    // Its fields are getters that throw, or what no text can be made of; the log must not fail over it.
    return { type: 'Error', message: 'an error that cannot be described' };
  }
}

function describe(error: unknown, depth: number): unknown {
  if (!(error instanceof Error)) return typeof error === 'string' ? maskAndCut(error) : error;
  const told: Record<string, unknown> = { type: error.name, message: maskAndCut(asError(error).message) };
  for (const name of TELLING) {
    const value = (error as unknown as Record<string, unknown>)[name];
    if (value !== undefined && typeof value !== 'function') {
      told[name] = typeof value === 'string' ? maskAndCut(value) : value;
    }
  }
  if (typeof error.stack === 'string') told.stack = maskAndCut(error.stack);
  if (depth < 5) {
    if (error.cause !== undefined) told.cause = describe(error.cause, depth + 1);
    if (error instanceof AggregateError) told.errors = error.errors.map((one) => describe(one, depth + 1));
  }
  return told;
}
