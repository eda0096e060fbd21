import { bytes, duration, Joi, positiveDuration, url } from '@warren/chassis';
import { parseTrust, type TrustProxy } from './clients.ts';
import { PROXY_HEADERS, type ProxyHeader } from './forwarded.ts';
import { parseRate, type Rate } from './limits.ts';

export interface EdgeConfig {
  /** Connections from clients at once. With heads of 16 KiB each they must fit the memory. */
  MAX_CONNECTIONS: number;
  /** Of one client; not of proxies that `TRUST_PROXY` names. */
  MAX_CLIENT_CONNECTIONS: number;
  /** Bytes of the heads of all requests without a response. */
  HEADER_MEMORY: number;
  /** ms an upstream may take to accept a connection, to begin its response, and between two chunks of it. */
  UPSTREAM_TIMEOUT: number;
  /** Connections to one upstream, at most. */
  UPSTREAM_CONNECTIONS: number;
  /** ms a request may wait for one of them. */
  UPSTREAM_WAIT: number;
  /** Bytes of a request's body; the services have lower limits of their own. */
  BODY_LIMIT: number;
  /** Bytes of a body that are read before a connection to an upstream is taken: at least the limit of the services. */
  BODY_BUFFER: number;
  /** Bytes of all bodies that are so buffered, until their requests have a response. */
  BODY_MEMORY: number;
  RATE_LIMIT: Rate;
  TRUST_PROXY: TrustProxy;
  /** The header in which the trusted proxies name their clients; the other one is ignored. */
  PROXY_HEADER: ProxyHeader;
}

/** The variables of the edge, for the config of the service that has it. */
export const edgeConfig = {
  // Together with BODY_MEMORY, what they allow fits the 256 MiB that the chart gives a pod.
  MAX_CONNECTIONS: Joi.number()
    .integer()
    .min(1)
    .max(1_000_000)
    .default(3_000)
    .description('Connections from clients at once; with 16 KiB of headers each they must fit the memory.'),
  MAX_CLIENT_CONNECTIONS: Joi.number()
    .integer()
    .min(1)
    .max(1_000_000)
    .default(500)
    .description('Connections of one client at once; not of proxies that `TRUST_PROXY` names.'),
  HEADER_MEMORY: bytes('16mb').description(
    'For the headers of all requests without a response; one client has a quarter of it.',
  ),
  // Longer than the services' own REQUEST_TIMEOUT, so that the service reports what takes long.
  UPSTREAM_TIMEOUT: positiveDuration('15s').description(
    "For a service to accept a connection, to begin its response, and between two parts of it; longer than the services' `REQUEST_TIMEOUT`.",
  ),
  UPSTREAM_CONNECTIONS: Joi.number()
    .integer()
    .min(1)
    .max(10_000)
    .default(100)
    .description(
      'Connections to each service. One client has a quarter of them at most; reads and writes two thirds each, bodies that still arrive a fifth.',
    ),
  UPSTREAM_WAIT: duration('1s').description('How long a request waits for a free connection to its service.'),
  BODY_LIMIT: bytes('1mb'),
  BODY_BUFFER: bytes('100kb').description(
    "How much of a body is read before it takes a connection to a service; at least the services' `BODY_LIMIT`.",
  ),
  BODY_MEMORY: bytes('32mb').description(
    'For all bodies that are so buffered; at least 4 times `BODY_BUFFER`.',
  ),
  RATE_LIMIT: parsed(parseRate, 'must be off, or requests per time such as 100/1s or 5000/1m')
    .default(parseRate('100/1s'))
    .meta({ default: '100/1s' })
    .description('Requests per time for each client and replica, or `off`.'),
  TRUST_PROXY: parsed(
    parseTrust,
    'must be off, the number of proxies in front (1 to 10), or their addresses and networks such as 10.0.0.0/8,::1',
    // Joi calls a function to get a default.
  )
    .default(() => parseTrust('off'))
    .meta({ default: 'off' })
    .description(
      'How many proxies are in front of the gateway, 1 to 10, or their addresses and networks such as `10.0.0.0/8,::1`.',
    ),
  PROXY_HEADER: Joi.valid(...PROXY_HEADERS)
    .default('x-forwarded-for')
    .description('The header in which the proxies name their clients; the other one is ignored.'),
};

/** Where an upstream is: an origin such as `http://user:80`. */
export const upstreamUrl = (fallback: string): Joi.StringSchema =>
  url('http')
    .default(fallback)
    .custom(originOf)
    .messages({ 'url.origin': 'must be an origin without a path, such as http://user:80' })
    .description('Where that service is: an origin without a path.');

function parsed<T>(parse: (text: string) => T | undefined, message: string): Joi.AnySchema<T> {
  return Joi.any()
    .custom((text, helpers) => {
      const value = typeof text === 'string' ? parse(text.trim()) : text;
      return value === undefined ? helpers.error('any.invalid') : value;
    })
    .messages({ 'any.invalid': message }) as Joi.AnySchema<T>;
}

function originOf(text: string, helpers: Joi.CustomHelpers): unknown {
  const { origin, pathname, search, hash, username } = new URL(text);
  return pathname === '/' && !search && !hash && !username ? origin : helpers.error('url.origin');
}
