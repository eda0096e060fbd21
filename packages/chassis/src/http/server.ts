// A node:http server with a graceful shutdown: it closes keep-alive connections and finishes requests in flight.
import {
  createServer,
  type IncomingMessage,
  type Server as NodeServer,
  type ServerOptions as NodeServerOptions,
  type RequestListener,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import { type AddressInfo, Server as NetServer, type Socket } from 'node:net';
import { within } from '../concurrency.ts';
import { PROBLEM_TYPE, problem, WarrenError } from '../errors.ts';
import { newId } from '../id.ts';
import { CORRELATION_HEADER } from '../request/correlation.ts';
import type { OnMalformed } from './malformed.ts';

export interface Server {
  /**
   * @param host an address or a host name; `::` is all interfaces, only those of IPv4 if IPv6 is missing
   * @returns the port; another one than requested if that was 0
   */
  listen(port: number, host?: string): Promise<number>;
  /** Whether responses must close their connection. */
  readonly draining: boolean;
  /** From now on every response closes its connection; new ones are still accepted, so that clients move elsewhere one by one. */
  closeAfterResponse(): void;
  /**
   * Stops accepting, closes connections after their next response, closes idle ones, and resolves when none is left.
   * The caller limits the time, and then calls {@link Server.close}.
   */
  drain(): Promise<void>;
  /** Closes everything at once. */
  close(): Promise<void>;
}

/** Longer than load balancers keep an idle connection (60 s is common), so that they close it first. */
const KEEP_ALIVE_MS = 65_000;
/**
 * What `Keep-Alive: timeout=` tells clients: shorter than a `DRAIN_DELAY` of 5 s. Clients that honour it have closed their idle
 * connections before we cut them.
 */
const ADVERTISED_KEEP_ALIVE_MS = 4_000;
const HEADERS_TIMEOUT_MS = 10_000;
const MAX_HEADER_BYTES = 16 * 1024;
const LOCALHOST = '127.0.0.1';
/** After a recent request, another may be on the wire: the client gets a response to it, not a reset. */
const LINGER_MS = 250;
const CUT_IDLE_EVERY_MS = 50;

export interface ServerOptions {
  /** ms that a whole request may take to arrive after its headers. */
  requestTimeout: number;
  /** Called with every new connection; false resets it. */
  onConnection?: ((socket: Socket) => boolean) | undefined;
  /** Called with everything that does not reach the listener. */
  malformed?: OnMalformed;
}

/** The last request of each connection, and its response. */
type Latest = WeakMap<Socket, { request: IncomingMessage; response: ServerResponse }>;

export function createHttpServer(listener: RequestListener, options: ServerOptions): Server {
  let draining = false;
  let lastRequestAt = 0;
  const latest: Latest = new WeakMap();
  const server = createServer(nodeOptions(options), (request, response) => {
    lastRequestAt = Date.now();
    latest.set(request.socket, { request, response });
    const fault = faultOf(request);
    if (fault === undefined) return listener(request, response);
    options.malformed?.({ name: '', message: '', code: fault.code }, request.socket);
    refuseRequest(response, 400, fault.detail);
  });
  // Before Node.js 24.6 the advertised time is also the real one.
  if (server.keepAliveTimeoutBuffer === undefined) server.keepAliveTimeout = KEEP_ALIVE_MS;
  refuseInvalid(server, options, latest);

  return {
    get draining() {
      return draining;
    },
    listen: (port, host) => listen(server, port, host),
    closeAfterResponse() {
      draining = true;
    },
    async drain() {
      draining = true;
      if (server.listening) await drain(server, Date.now() - lastRequestAt < 1_000 ? LINGER_MS : 0);
    },
    async close() {
      draining = true;
      server.close();
      server.closeAllConnections();
    },
  };
}

const nodeOptions = ({ requestTimeout }: ServerOptions): NodeServerOptions => ({
  keepAliveTimeout: ADVERTISED_KEEP_ALIVE_MS,
  keepAliveTimeoutBuffer: KEEP_ALIVE_MS - ADVERTISED_KEEP_ALIVE_MS,
  headersTimeout: HEADERS_TIMEOUT_MS,
  requestTimeout: HEADERS_TIMEOUT_MS + requestTimeout,
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: MAX_HEADER_BYTES,
  // Node's own response to a missing Host has no body: see `faultOf`.
  requireHostHeader: false,
});

/** What makes a request invalid that Node's parser accepts. */
function faultOf({
  headers,
  httpVersion,
  url = '',
}: IncomingMessage): { code: string; detail?: string } | undefined {
  if (headers.host === undefined && httpVersion === '1.1')
    return { code: 'HPE_MISSING_HOST', detail: 'An HTTP/1.1 request must have a Host header.' };
  // Koa throws at an absolute target that it cannot parse.
  if (!url.startsWith('/') && url !== '*' && !URL.canParse(url)) return { code: 'ERR_INVALID_URL' };
  return undefined;
}

/** Refuses connections, expectations and invalid HTTP. */
function refuseInvalid(server: NodeServer, { onConnection, malformed }: ServerOptions, latest: Latest): void {
  server.prependListener('connection', (socket: Socket) => {
    if (onConnection?.(socket) === false) socket.resetAndDestroy();
  });
  server.on('checkExpectation', (_request, response) =>
    refuseRequest(response, 417, 'Only the expectation 100-continue is supported.'),
  );
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    malformed?.(error, socket);
    const last = latest.get(socket);
    // The request before the invalid bytes gets its response first.
    if (last?.request.complete && !last.response.writableFinished && !socket.destroyed)
      last.response.once('close', () => refuse(error, socket));
    // A refusal in the middle of a response would be read as a part of it.
    else if (last?.response.headersSent && !last.response.writableFinished) socket.resetAndDestroy();
    else refuse(error, socket);
  });
}

function listen(server: NodeServer, port: number, host = LOCALHOST): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => reject(notListening(port, host, cause)));
    // Without a host Node.js binds `::`, or `0.0.0.0` if there is no IPv6.
    const address = host === '::' ? { port } : { port, host };
    server.listen(address, () => resolve((server.address() as AddressInfo).port));
  });
}

/** @param linger ms to wait before idle connections are cut */
async function drain(server: NodeServer, linger: number): Promise<void> {
  // http.Server's own close() also cuts idle connections, on which a request may just be arriving.
  const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
  if (linger > 0) await within(linger, closed);
  // In setImmediate, after the sockets were read: a connection with unread bytes is not idle.
  const cutIdle = () => setImmediate(() => server.closeIdleConnections());
  const sweep = setInterval(cutIdle, CUT_IDLE_EVERY_MS);
  cutIdle();
  await closed;
  clearInterval(sweep);
  server.close(); // stops its own timer
}

function notListening(port: number, host: string, cause: NodeJS.ErrnoException): WarrenError {
  return cause.code === 'EADDRINUSE'
    ? new WarrenError(
        'port_taken',
        `Port ${port} is in use: stop the process that listens on it, or choose another port.`,
        { cause },
      )
    : new WarrenError('listen_failed', `Cannot listen on port ${port} of ${host}: ${cause.message}.`, {
        cause,
      });
}

const refusalHeaders = () => ({
  connection: 'close',
  'content-type': PROBLEM_TYPE,
  [CORRELATION_HEADER]: newId(),
});

function refuseRequest(response: ServerResponse, status: number, detail?: string): void {
  response.writeHead(status, refusalHeaders()).end(JSON.stringify(problem(status, { detail })));
}

/** Refuses invalid HTTP, and headers that are too slow or too large, which never reach Koa. */
function refuse(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const status = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }[error.code ?? ''] ?? 400;
  const body = JSON.stringify(problem(status));
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\n${CORRELATION_HEADER}: ${newId()}\r\n` +
      `Content-Type: ${PROBLEM_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    () => socket.destroySoon(),
  );
}
