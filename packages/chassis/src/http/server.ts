// A node:http server that dies well: keep-alive connections are told to end, and what is in hand is finished.
import {
  createServer,
  type IncomingMessage,
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
   * @param host an address or a host name; `::` is all interfaces, those of IPv4 alone where there is no IPv6
   * @returns the port; another one than asked for when that was 0
   */
  listen(port: number, host?: string): Promise<number>;
  /** Whether answers must end their connection. */
  readonly draining: boolean;
  /** From now on every answer ends its connection; new ones are still accepted: clients move elsewhere one by one. */
  closeAfterResponse(): void;
  /**
   * Stops accepting, ends connections with their next answer, closes idle ones, and resolves when none is left.
   * The caller bounds the time, and calls {@link Server.close} after it.
   */
  drain(): Promise<void>;
  /** Closes everything, also what is in hand. */
  close(): Promise<void>;
}

/** Longer than load balancers keep an idle connection (60 s is common): they, not we, close it first. ms */
const KEEP_ALIVE = 65_000;
/**
 * What clients are told of it (`Keep-Alive: timeout=`), ms: shorter than a `DRAIN_DELAY` of 5 s. Who goes by it holds no idle
 * connection any more when those are cut, on which a request may just be on its way.
 */
const TOLD = 4_000;
const HEADERS = 10_000;
const HEADER_BYTES = 16 * 1024;
const LOCAL = '127.0.0.1';
/** A client that was busy a moment ago may have a request on the wire: it gets an answer, not a reset. ms */
const LINGER = 250;

/**
 * @param options.requestTimeout ms a whole request may take to arrive after its headers
 * @param options.onConnection called with every new connection; false closes it
 * @param options.malformed called with what reaches no listener
 */
export function createHttpServer(
  listener: RequestListener,
  options: {
    requestTimeout: number;
    onConnection?: ((socket: Socket) => boolean) | undefined;
    malformed?: OnMalformed;
  },
): Server {
  let draining = false;
  let lastRequest = 0;
  const latest = new WeakMap<Socket, { request: IncomingMessage; response: ServerResponse }>();
  const server = createServer(
    {
      keepAliveTimeout: TOLD,
      keepAliveTimeoutBuffer: KEEP_ALIVE - TOLD,
      headersTimeout: HEADERS,
      requestTimeout: HEADERS + options.requestTimeout,
      connectionsCheckingInterval: 1_000,
      maxHeaderSize: HEADER_BYTES,
      // Node's own answer to a missing Host has no body: see below.
      requireHostHeader: false,
    },
    (request, response) => {
      lastRequest = Date.now();
      latest.set(request.socket, { request, response });
      // Koa throws over an absolute target that it cannot parse.
      const { url = '' } = request;
      const malformed = (code: string, detail?: string) => {
        options.malformed?.({ name: '', message: '', code }, request.socket);
        refuseRequest(response, 400, detail);
      };
      const named = request.headers.host !== undefined || request.httpVersion !== '1.1';
      if (!named) malformed('HPE_MISSING_HOST', 'An HTTP/1.1 request must have a Host header.');
      else if (url.startsWith('/') || url === '*' || URL.canParse(url)) listener(request, response);
      else malformed('ERR_INVALID_URL');
    },
  );
  server.on('checkExpectation', (_request, response) =>
    refuseRequest(response, 417, 'Only the expectation 100-continue is supported.'),
  );
  // Before Node.js 24.6 what is told is what is done.
  if (server.keepAliveTimeoutBuffer === undefined) server.keepAliveTimeout = KEEP_ALIVE;
  server.prependListener('connection', (socket: Socket) => {
    if (options.onConnection?.(socket) === false) socket.resetAndDestroy();
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    options.malformed?.(error, socket);
    const last = latest.get(socket);
    // What is malformed came after a request that is still being answered: that answer first.
    if (last?.request.complete && !last.response.writableFinished && !socket.destroyed)
      last.response.once('close', () => refuse(error, socket));
    // Words in the middle of an answer would be taken for a part of it.
    else if (last?.response.headersSent && !last.response.writableFinished) socket.resetAndDestroy();
    else refuse(error, socket);
  });

  return {
    get draining() {
      return draining;
    },

    listen(port, host = LOCAL) {
      return new Promise((resolve, reject) => {
        server.once('error', (cause) => reject(notListening(port, host, cause)));
        // Without a host Node.js takes `::`, or `0.0.0.0` where there is no IPv6.
        const address = host === '::' ? { port } : { port, host };
        server.listen(address, () => resolve((server.address() as AddressInfo).port));
      });
    },

    closeAfterResponse() {
      draining = true;
    },

    async drain() {
      draining = true;
      if (!server.listening) return;
      // http.Server's own close() also cuts idle connections, on which a request may just be arriving.
      const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
      if (Date.now() - lastRequest < 1_000) await within(LINGER, closed);
      // Not from a timer, but after what the sockets hold has been read: idle is who has sent nothing, not who was not heard yet.
      const cutIdle = () => setImmediate(() => server.closeIdleConnections());
      const sweep = setInterval(cutIdle, 50);
      cutIdle();
      await closed;
      clearInterval(sweep);
      server.close(); // ends its own timer
    },

    async close() {
      draining = true;
      server.close();
      server.closeAllConnections();
    },
  };
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

/** Answers what is no HTTP request, or too slow or too large in its headers, before Koa sees it. */
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
