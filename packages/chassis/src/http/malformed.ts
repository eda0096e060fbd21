// Counts and logs requests that reach no route: invalid HTTP, or headers that are too slow or too large.
import type { Socket } from 'node:net';
import type { Logger } from '../context.ts';
import type { Metrics } from '../telemetry/index.ts';
import { seldom } from '../telemetry/seldom.ts';

export type OnMalformed = (error: NodeJS.ErrnoException, socket: Socket) => void;

const REASONS: Record<string, string> = {
  HPE_HEADER_OVERFLOW: 'too_large',
  ERR_HTTP_REQUEST_TIMEOUT: 'too_slow',
};

export function onMalformed(log: Logger, metrics: Metrics): OnMalformed {
  const { httpMalformed } = metrics;
  for (const reason of ['invalid', ...Object.values(REASONS)]) httpMalformed.inc({ reason }, 0);
  const warn = seldom((omitted: number, reason: string, code: string, address: string | undefined) =>
    log.warn({ reason, code, address, omitted }, 'malformed request refused'),
  );
  return ({ code = '' }, socket) => {
    // A broken connection, or one without any bytes, is not a request.
    if (!/^(HPE_|ERR_)/.test(code) || socket.bytesRead === 0) return;
    const reason = REASONS[code] ?? 'invalid';
    httpMalformed.inc({ reason });
    warn(reason, code, socket.remoteAddress);
  };
}
