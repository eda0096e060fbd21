import type { Log, Logger } from '../context.ts';

/**
 * A child logger that is created at its first use, because most requests and events log only their end. Of a log without children it
 * has only the methods of `Log`, and `child`.
 */
export function childOf(log: Log, fields: () => object): () => Logger {
  let child: Logger | undefined;
  return () => {
    child ??= 'child' in log ? (log as Logger).child(fields()) : (bound(log, fields()) as unknown as Logger);
    return child;
  };
}

function bound(log: Log, fields: object): Log & { child(more: object): Log } {
  const line =
    (level: keyof Log): Log[keyof Log] =>
    (given: object | string, message?: string) =>
      typeof given === 'string'
        ? log[level](fields, given)
        : log[level]({ ...fields, ...given }, message as string);
  return {
    debug: line('debug'),
    info: line('info'),
    warn: line('warn'),
    error: line('error'),
    child: (more) => bound(log, { ...fields, ...more }),
  };
}
