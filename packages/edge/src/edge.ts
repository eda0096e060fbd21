// The edge: admits requests, responds with its own pages, and forwards the other requests to their upstream.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isIP, type Socket } from 'node:net';
import {
  ConfigError,
  type EdgeContext,
  type EdgeHandler,
  type EdgeTools,
  Problem,
  problem,
  RETRY_SHORTLY,
} from '@warren/chassis';
import { type Bound, createRefuse } from './bounds.ts';
import { type Client, clientOf, HOST, plainAddress, shareOf } from './clients.ts';
import type { EdgeConfig } from './config.ts';
import { type Connections, createConnections } from './connections.ts';
import { createLimiter } from './limits.ts';
import { createProxy, type UpstreamProxy } from './proxy.ts';
import { createShares } from './shares.ts';
import { readTarget, type Target } from './target.ts';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

export interface EdgeOptions<Upstream extends string> {
  config: EdgeConfig;
  /** Origins such as `http://user:80`, by the names that problems show. */
  upstreams: Readonly<Record<Upstream, string>>;
  /** The upstream of a plain path; undefined if there is none. */
  destinationOf(path: string): Destination<Upstream> | undefined;
  /** Paths that the service itself responds to. */
  pages: {
    /** Their route in metrics and logs */
    route: string;
    at(path: string): Page | undefined;
  };
}

export interface Destination<Upstream extends string> {
  upstream: Upstream;
  /** Name in metrics and logs, e.g. `/users/*` */
  route: string;
}

/** Responds to GET and HEAD. */
export type Page = (
  request: IncomingMessage,
  response: ServerResponse,
  context: EdgeContext,
) => Promise<void>;

/** A request that was admitted. */
interface Admitted {
  target: Target;
  client: Client;
}

export function createEdge<Upstream extends string>(
  options: EdgeOptions<Upstream>,
  tools: EdgeTools,
): EdgeHandler {
  const { config, destinationOf, pages } = options;
  if (config.BODY_MEMORY < 4 * config.BODY_BUFFER)
    throw new ConfigError([
      'BODY_MEMORY: must be at least 4 times BODY_BUFFER, because one client may use a quarter of it',
    ]);
  const limiter = createLimiter(config.RATE_LIMIT);
  const heads = createShares(config.HEADER_MEMORY);
  const refuse = createRefuse(tools);
  const connections = connectionsOf(config);
  const proxies = proxiesTo(options.upstreams, config);
  /** From `onRequest` to `handleUnmatched`. */
  const admitted = new WeakMap<IncomingMessage, Admitted>();

  return {
    onConnection(socket) {
      const bound = connections.open(socket);
      if (bound !== undefined)
        refuse(bound === 'all' ? 'connections' : 'client_connections', addressOf(socket));
      return bound === undefined;
    },

    onRequest(request, response) {
      const client = clientOf(request, config.TRUST_PROXY, config.PROXY_HEADER);
      const { address } = client;
      const leave = heads.take(shareOf(address), headSize(request));
      if (leave === undefined) {
        refuse('header_memory', address);
        // The reset also drops the pipelined requests of this connection that wait for their turn.
        request.socket.resetAndDestroy();
        throw crowdedByHeads();
      }
      if (response.closed) leave();
      else response.once('close', leave);
      connections.use(request.socket, response);
      const wait = limiter.take(shareOf(address));
      if (wait > 0) throw limited(wait);
      refuseAmbiguous(request);
      if (!isOfTheWhole(request))
        admitted.set(request, { target: readTarget(request.url as string), client });
    },

    async handleUnmatched(request, response, context) {
      const { target, client } = admitted.get(request) as Admitted;
      const { path, query } = target;
      const { method = '' } = request;
      if (!METHODS.includes(method)) throw notAllowed(path, METHODS);
      const page = pages.at(path);
      if (page !== undefined) {
        context.route = pages.route;
        if (method !== 'GET' && method !== 'HEAD') throw notAllowed(path, ['GET', 'HEAD']);
        return page(request, response, context);
      }
      const destination = destinationOf(path);
      if (destination === undefined) throw problem(404, { detail: `No route matches ${path}.` });
      context.route = destination.route;
      // Refuses invalid tokens. A missing token is forwarded: only the service knows which routes need one.
      await context.authenticate();
      const proxy = proxies.get(destination.upstream) as UpstreamProxy;
      try {
        return await proxy.forward(request, response, { path, query, client }, context);
      } catch (error) {
        const bound = error instanceof Problem ? BOUND_OF.get(error.code) : undefined;
        if (bound !== undefined) refuse(bound, client.address);
        throw error;
      }
    },

    async close() {
      await Promise.all([...proxies.values()].map((proxy) => proxy.close()));
    },
  };
}

const addressOf = (socket: Socket): string => plainAddress(socket.remoteAddress ?? '');

const connectionsOf = (config: EdgeConfig): Connections =>
  createConnections({
    all: config.MAX_CONNECTIONS,
    ofClient: config.MAX_CLIENT_CONNECTIONS,
    clientOf(socket) {
      const address = addressOf(socket);
      return isIP(address) !== 0 && config.TRUST_PROXY(address, 0) ? undefined : shareOf(address);
    },
  });

function proxiesTo(
  upstreams: Readonly<Record<string, string>>,
  config: EdgeConfig,
): ReadonlyMap<string, UpstreamProxy> {
  const room = createShares(config.BODY_MEMORY);
  const proxies = Object.entries(upstreams).map(([name, origin]) => {
    const proxy = createProxy({
      name,
      origin,
      timeout: config.UPSTREAM_TIMEOUT,
      connections: config.UPSTREAM_CONNECTIONS,
      wait: config.UPSTREAM_WAIT,
      bodyLimit: config.BODY_LIMIT,
      bodyBuffer: config.BODY_BUFFER,
      room,
    });
    return [name, proxy] as const;
  });
  return new Map(proxies);
}

/** `OPTIONS *` is about the server as a whole; the chassis handles it. https://www.rfc-editor.org/rfc/rfc9110#section-9.3.7 */
const isOfTheWhole = ({ method, url }: IncomingMessage): boolean => method === 'OPTIONS' && url === '*';

const BOUND_OF = new Map<string | undefined, Bound>([
  ['gateway_busy', 'body_memory'],
  ['upstream_busy', 'upstream_connections'],
]);

/** Bytes of a request's head in memory. */
const headSize = ({ url = '', rawHeaders }: IncomingMessage): number =>
  rawHeaders.reduce((sum, { length }) => sum + length, url.length);

const crowdedByHeads = (): Problem =>
  problem(503, { code: 'gateway_busy', headers: { ...RETRY_SHORTLY, connection: 'close' } });

/**
 * Refuses requests that Node's parser accepts, but that two servers may understand differently.
 * https://www.rfc-editor.org/rfc/rfc9112#section-3.2 (Host), #section-6.1 (Transfer-Encoding)
 */
function refuseAmbiguous({ rawHeaders, headers, httpVersion }: IncomingMessage): void {
  const hosts = rawHeaders.filter((name, at) => at % 2 === 0 && name.toLowerCase() === 'host').length;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') throw ambiguous(505, 'Only HTTP/1.x is supported.');
  if (hosts > 1 || !HOST.test(headers.host ?? ''))
    throw ambiguous(400, 'A request must have exactly one valid Host header.');
  const coding = headers['transfer-encoding'];
  if (coding === undefined) return;
  if (httpVersion === '1.0') throw ambiguous(400, 'Transfer-Encoding is not allowed in HTTP/1.0.');
  if (coding.toLowerCase() !== 'chunked')
    throw ambiguous(501, 'Only chunked transfer encoding is supported.');
}

/** The end of such a request is uncertain, so nothing more is read from its connection. */
const ambiguous = (status: number, detail: string): Problem =>
  problem(status, { detail, headers: { connection: 'close' } });

function limited(wait: number): Problem {
  return problem(429, {
    code: 'rate_limited',
    detail: 'Too many requests from this address; try again after the time in Retry-After.',
    headers: { 'retry-after': String(Math.ceil(wait / 1_000)) },
  });
}

function notAllowed(path: string, methods: string[]): Problem {
  const allow = methods.join(', ');
  return problem(405, { detail: `Allowed methods for ${path}: ${allow}.`, headers: { allow } });
}
