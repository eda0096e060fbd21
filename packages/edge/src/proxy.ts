// Forwards requests as RFC 9110, section 7.6, and RFC 9112 require. Large bodies stream in both directions, at the pace of the
// slower side.
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  type EdgeContext,
  type Problem,
  problem,
  RETRY_SHORTLY,
  ROLES_HEADER,
  SUBJECT_HEADER,
} from '@warren/chassis';
import { type Dispatcher, Pool } from 'undici';
import { crowded, gather, meter, roomFor, stalled, tooLarge } from './bodies.ts';
import { type Client, shareOf } from './clients.ts';
import type { Shares } from './shares.ts';
import { createSlots, type Kind } from './slots.ts';

export interface ProxyOptions {
  /** `http://HOST:PORT` */
  origin: string;
  /** Its name in problems. */
  name: string;
  /** ms to accept a connection, to begin the response, and between two chunks of it. */
  timeout: number;
  connections: number;
  /** ms a request may wait for a connection. */
  wait: number;
  /** Bytes of a request's body. */
  bodyLimit: number;
  /** Bytes of a body that are read before a connection is taken: the limit of the service. */
  bodyBuffer: number;
  /** Bytes for all bodies that are so buffered; one for the whole gateway. */
  room: Shares;
}

export interface UpstreamProxy {
  /**
   * Forwards a request, and passes the response on.
   * @throws {Problem} 502 `upstream_unavailable` or `upstream_invalid`, 503 `upstream_busy` or `gateway_busy`, 504
   * `upstream_timeout`, 408, 413; if the head of the response has been sent, the response breaks off for the same reasons
   */
  forward(
    request: IncomingMessage,
    response: ServerResponse,
    target: { path: string; query: string; client: Client },
    context: EdgeContext,
  ): Promise<void>;
  close(): Promise<void>;
}

/** ms after which a client that reads nothing of its response is reset: it holds a connection to the upstream. */
const STALLED = 30_000;
/** ms, at most: the gateway closes an idle connection before the service does, which announces its own time-out. */
const KEEP_ALIVE = 20_000;
/** Higher numbers are not status codes. https://www.rfc-editor.org/rfc/rfc9110#section-15 */
const LAST_STATUS = 599;
/** Waiting requests for each connection; more are refused at once. */
const WAITING = 10;

export function createProxy(options: ProxyOptions): UpstreamProxy {
  const { origin, name, timeout, connections, wait, bodyLimit, bodyBuffer, room } = options;
  const slots = createSlots({ size: connections, wait, waiting: connections * WAITING });
  const pool = new Pool(origin, {
    connections,
    pipelining: 1,
    connect: { timeout },
    // Until the head of the response arrives, the timer of `askOnce` runs: it knows which side has to send next.
    headersTimeout: 0,
    bodyTimeout: timeout,
    keepAliveTimeout: KEEP_ALIVE,
    keepAliveMaxTimeout: KEEP_ALIVE,
  });

  return {
    async forward(request, response, { path, query, client }, context) {
      if (Number(request.headers['content-length'] ?? 0) > bodyLimit) throw tooLarge(bodyLimit);
      const share = shareOf(client.address);
      const size = roomFor(request, bodyBuffer);
      const leave = room.take(share, size);
      if (leave === undefined) throw crowded();
      let release: (() => void) | undefined;
      try {
        // First the body, then the connection: a slow client does not occupy a connection.
        const awaited = { room: size, limit: bodyLimit, timeout, signal: context.signal };
        const body = size === 0 ? null : ((await gather(request, awaited)) ?? STREAMED);
        release = await connection(share, kindOf(request, body), context.signal);
        const headers = requestHeaders(request, client, context);
        const answer = await ask(request, { path: path + query, headers, body, context });
        await pass(answer, request, response, context);
      } finally {
        release?.();
        leave();
        // Reads the rest of a body that the upstream did not take: otherwise the client would not read the response.
        request.unpipe();
        request.resume();
      }
    },
    close: () => pool.destroy(),
  };

  async function connection(share: string, kind: Kind, signal: AbortSignal): Promise<() => void> {
    const release = await slots.take(share, signal, kind).catch(() => undefined);
    if (release !== undefined && !signal.aborted) return release;
    release?.();
    signal.throwIfAborted();
    throw busy(name);
  }

  async function ask(request: IncomingMessage, what: Asked): Promise<Dispatcher.ResponseData> {
    const repeatable = what.body === null && (request.method === 'GET' || request.method === 'HEAD');
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await askOnce(request, what);
      } catch (error) {
        if (what.context.signal.aborted) throw what.context.signal.reason;
        if (attempt > 1 || !repeatable || !isConnectionFailure(error)) throw refusalOf(error, name, timeout);
      }
    }
  }

  async function askOnce(
    request: IncomingMessage,
    { path, headers, body: given, context }: Asked,
  ): Promise<Dispatcher.ResponseData> {
    const stop = new AbortController();
    const late = () => stop.abort(request.complete ? timedOut(name, timeout) : stalled(timeout));
    const clock = setTimeout(late, timeout);
    const body = given === STREAMED ? meter(request, bodyLimit, () => clock.refresh(), stop) : given;
    try {
      return await pool.request({
        method: request.method as Dispatcher.HttpMethod,
        path,
        headers,
        body,
        signal: AbortSignal.any([stop.signal, context.signal]),
        responseHeaders: 'raw',
      });
    } catch (error) {
      if (body !== null && !Buffer.isBuffer(body)) body.destroy();
      throw stop.signal.aborted ? stop.signal.reason : error;
    } finally {
      clearTimeout(clock);
    }
  }

  async function pass(
    answer: Dispatcher.ResponseData,
    request: IncomingMessage,
    response: ServerResponse,
    context: EdgeContext,
  ): Promise<void> {
    const { statusCode, body } = answer;
    const failed = Promise.withResolvers<never>();
    // If the head is refused, nothing awaits this promise.
    failed.promise.catch(() => {});
    response.on('error', () => {});
    body.on('error', (error) =>
      failed.reject(context.signal.aborted ? error : refusalOf(error, name, timeout)),
    );
    response.setTimeout(STALLED, () => request.socket.resetAndDestroy());
    try {
      if (statusCode > LAST_STATUS) throw new Error(`${statusCode} is not an HTTP status code.`);
      // undici's `raw` gives name, value, name, value.
      const headers = answer.headers as unknown as string[];
      for (const [header, values] of responseHeaders(headers)) response.setHeader(header, values);
      if (context.draining) response.setHeader('connection', 'close');
      response.writeHead(statusCode);
    } catch (error) {
      body.on('error', () => {}).destroy();
      throw invalid(name, error);
    }
    const closed = new Promise<void>((resolve) => response.once('close', resolve));
    body.pipe(response);
    await Promise.race([closed, failed.promise]);
  }
}

/** Instead of a body that has not arrived in full: it streams. */
const STREAMED = Symbol('streamed');

const kindOf = ({ method }: IncomingMessage, body: Asked['body']): Kind =>
  body === STREAMED ? 'upload' : method === 'GET' || method === 'HEAD' ? 'read' : 'write';

interface Asked {
  path: string;
  headers: string[];
  body: Buffer | typeof STREAMED | null;
  context: EdgeContext;
}

// --- Headers ---

/** For one hop only, like the headers that `Connection` names. */
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade']);
/** Set by the gateway, or already handled. */
const REPLACED = new Set([
  'host',
  'expect',
  'forwarded',
  'x-real-ip',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-correlation-id',
  'traceparent',
  // Identities, which only the gateway sets, and only over the broker.
  SUBJECT_HEADER,
  ROLES_HEADER,
]);

function requestHeaders(request: IncomingMessage, client: Client, context: EdgeContext): string[] {
  const headers = endToEnd(request.rawHeaders).filter(([name]) => !REPLACED.has(name.toLowerCase()));
  const ours: [string, string][] = [
    ['x-forwarded-for', client.chain.join(', ')],
    ['x-forwarded-proto', client.proto],
    ['x-forwarded-host', client.host],
    ['x-correlation-id', context.correlationId],
  ];
  if (context.traceparent !== undefined) ours.push(['traceparent', context.traceparent]);
  return [...headers, ...ours].flat();
}

/** By lower-case name. A repeated header stays repeated, and replaces a header that the gateway has set. */
function responseHeaders(raw: string[]): Map<string, string | string[]> {
  const headers = new Map<string, string | string[]>();
  for (const [given, value] of endToEnd(raw)) {
    const name = given.toLowerCase();
    if (name === 'x-correlation-id') continue;
    const before = headers.get(name);
    headers.set(name, before === undefined ? value : [before, value].flat());
  }
  return headers;
}

function endToEnd(raw: string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) pairs.push([raw[at] as string, raw[at + 1] as string]);
  const named = pairs
    .filter(([name]) => name.toLowerCase() === 'connection')
    .flatMap(([, value]) => value.toLowerCase().split(','))
    .map((name) => name.trim());
  const dropped = new Set([...HOP_BY_HOP, ...named]);
  return pairs.filter(([name]) => !dropped.has(name.toLowerCase()) && !/^proxy-/i.test(name));
}

// --- Failures ---

interface Failure extends Error {
  code?: string;
}

const BROKEN = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_SOCKET',
]);

/** The connection failed before the head of the response arrived. */
function isConnectionFailure(error: unknown): boolean {
  const { code } = error as Failure;
  return code !== undefined && BROKEN.has(code);
}

function refusalOf(error: unknown, name: string, timeout: number): Error {
  const { code = '', name: kind } = error as Failure;
  if (/^UND_ERR_(CONNECT|HEADERS|BODY)_TIMEOUT$|^ETIMEDOUT$/.test(code))
    return timedOut(name, timeout, error);
  // ERR_ASSERTION: undici throws it for a status below 100, and not an error of its parser.
  if (
    kind === 'HTTPParserError' ||
    /^(UND_ERR_(HEADERS_OVERFLOW|RES_|INFO|NOT_SUPPORTED)|ERR_ASSERTION$)/.test(code)
  )
    return invalid(name, error);
  if (isConnectionFailure(error) || /^E[A-Z]+$/.test(code)) return unavailable(name, error);
  return error as Error;
}

const unavailable = (name: string, cause: unknown): Problem =>
  problem(502, {
    code: 'upstream_unavailable',
    detail: `The ${name} service cannot be reached; try again shortly.`,
    headers: RETRY_SHORTLY,
    cause,
  });

const invalid = (name: string, cause: unknown): Problem =>
  problem(502, {
    code: 'upstream_invalid',
    detail: `The ${name} service returned an invalid HTTP response.`,
    cause,
  });

const timedOut = (name: string, timeout: number, cause?: unknown): Problem =>
  problem(504, {
    code: 'upstream_timeout',
    detail: `The ${name} service did not respond within ${timeout} ms.`,
    headers: RETRY_SHORTLY,
    cause,
  });

const busy = (name: string): Problem =>
  problem(503, {
    code: 'upstream_busy',
    detail: `Too many requests are waiting for the ${name} service; try again shortly.`,
    headers: RETRY_SHORTLY,
  });
