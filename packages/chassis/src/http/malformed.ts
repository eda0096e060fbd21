// What is no HTTP request, or too slow or too large in its head, reaches no route: it is counted and logged here.
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
  const tell = seldom((omitted: number, reason: string, code: string, address: string | undefined) =>
    log.warn({ reason, code, address, omitted }, 'malformed request refused'),
  );
  return ({ code = '' }, socket) => {
    // A connection that broke, or on which nothing ever came, is no request.
    if (!/^(HPE_|ERR_)/.test(code) || socket.bytesRead === 0) return;
    const reason = REASONS[code] ?? 'invalid';
    httpMalformed.inc({ reason });
    tell(reason, code, socket.remoteAddress);
  };
}
