// A web face without the rest of a service, on a real socket.
import type { Auth } from '../src/auth/auth.ts';
import type { UnitsOfWork } from '../src/context.ts';
import { createHttp, type Http } from '../src/http/app.ts';
import type { EdgeHandler } from '../src/http/edge.ts';
import type { Route } from '../src/http/routes.ts';
import { createLog, createMetrics, type Metrics } from '../src/telemetry/index.ts';

export interface Line {
  level: string;
  msg: string;
  correlationId?: string;
  traceId?: string;
  route?: string;
  status?: number;
  err?: { message: string; stack: string };
  [field: string]: unknown;
}

export interface Web {
  url: string;
  port: number;
  http: Http;
  metrics: Metrics;
  lines: Line[];
  /** The one line of the request under that correlation id; undefined until it is written. */
  access(correlationId: string): Line | undefined;
}

export interface WebOptions {
  routes: readonly Route[];
  units?: UnitsOfWork;
  auth?: Auth | undefined;
  edge?: EdgeHandler;
  timeout?: number;
  limit?: number;
  port?: number;
}

const opened: Web[] = [];

export async function openWeb({
  routes,
  units,
  auth,
  edge,
  timeout = 10_000,
  limit = 102_400,
  port: wanted = 0,
}: WebOptions): Promise<Web> {
  const lines: Line[] = [];
  const log = createLog({
    service: 'test',
    version: '1.0.0',
    level: 'debug',
    stream: { write: (line) => void lines.push(JSON.parse(line)) },
  });
  const metrics = createMetrics({
    service: 'test',
    version: '1.0.0',
    http: true,
    database: false,
    broker: false,
  });
  const config = { REQUEST_TIMEOUT: timeout, BODY_LIMIT: limit };
  const http = createHttp({
    name: 'test',
    version: '1.0.0',
    routes,
    units,
    auth,
    edge,
    config,
    log,
    metrics,
    now: () => new Date(),
  });
  const port = await http.listen(wanted);
  const access = (id: string) =>
    lines.find(({ msg, correlationId }) => msg === 'request' && correlationId === id);
  const web = { url: `http://127.0.0.1:${port}`, port, http, metrics, lines, access };
  opened.push(web);
  return web;
}

/** Ends all that were opened: call it after each test. */
export async function closeWebs(): Promise<void> {
  await Promise.all(opened.splice(0).map(({ http }) => http.close()));
}

export const json = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
});
