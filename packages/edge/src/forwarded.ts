// Parses the headers in which proxies name their clients: X-Forwarded-For, or Forwarded (RFC 7239).
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';

export const PROXY_HEADERS = ['x-forwarded-for', 'forwarded'] as const;
export type ProxyHeader = (typeof PROXY_HEADERS)[number];

/** The entry of one proxy. */
export interface Hop {
  /** IP address of its client; undefined for `unknown`, an obfuscated name such as `_hidden`, or a malformed entry. */
  address: string | undefined;
  proto?: string;
  host?: string;
}

/** The entries of the proxies, the nearest first. */
export function hopsOf(
  { headers, headersDistinct }: Pick<IncomingMessage, 'headers' | 'headersDistinct'>,
  header: ProxyHeader,
): Hop[] {
  // Line by line: a malformed line of the client must not hide the proxy's line after it.
  if (header === 'forwarded') return (headersDistinct.forwarded ?? []).flatMap(parseForwarded).reverse();
  const hops: Hop[] = one(headers[header])?.split(',').map(simpleHop).reverse() ?? [];
  // These two have one value, that of the nearest proxy.
  const [proto, host] = ['x-forwarded-proto', 'x-forwarded-host'].map((name) => one(headers[name])?.trim());
  if (proto === undefined && host === undefined) return hops;
  const [nearest = { address: undefined }, ...others] = hops;
  return [
    { ...nearest, ...(proto !== undefined && { proto }), ...(host !== undefined && { host }) },
    ...others,
  ];
}

const simpleHop = (text: string): Hop => ({ address: addressOf(text.trim()) });

/**
 * The IP address of a node, which may have a port (Azure, IIS), and brackets if it is IPv6.
 * https://www.rfc-editor.org/rfc/rfc7239#section-6
 */
function addressOf(node: string): string | undefined {
  const [, bracketed, plain] = /^(?:\[([^\]]*)\]|([\d.]+))(?::(?:\d{1,5}|_[\w.-]+))?$/.exec(node) ?? [];
  const address = bracketed ?? plain ?? node;
  const version = isIP(address);
  // A zone has a meaning only on its own machine.
  if (address.includes('%')) return undefined;
  return version === 0 || (bracketed !== undefined && version !== 6) ? undefined : address;
}

const PAIR = /[ \t]*([!#$%&'*+.^_`|~\w-]+)=(?:([!#$%&'*+.^_`|~\w-]+)|"((?:[^"\\]|\\.)*)")[ \t]*/y;

/** The elements of a Forwarded field, in order. A malformed element makes the whole line count as empty. */
function parseForwarded(text: string): Hop[] {
  const hops: Hop[] = [];
  for (let at = 0; at <= text.length; at += 1) {
    const pairs = new Map<string, string>();
    for (;;) {
      PAIR.lastIndex = at;
      const [pair, name, token, quoted] = PAIR.exec(text) ?? [];
      if (pair !== undefined) {
        const key = (name as string).toLowerCase();
        if (pairs.has(key)) return NOTHING();
        pairs.set(key, token ?? (quoted as string).replace(/\\(.)/g, '$1'));
        at += pair.length;
      } else {
        // Elements and pairs may be empty.
        while (text[at] === ' ' || text[at] === '\t') at += 1;
      }
      if (text[at] !== ';') break;
      at += 1;
    }
    if (at < text.length && text[at] !== ',') return NOTHING();
    if (pairs.size === 0) continue;
    const [proto, host] = [pairs.get('proto'), pairs.get('host')];
    hops.push({
      address: addressOf(pairs.get('for') ?? ''),
      ...(proto !== undefined && { proto }),
      ...(host !== undefined && { host }),
    });
  }
  return hops;
}

const NOTHING = (): Hop[] => [{ address: undefined }];

const one = (header: string | string[] | undefined): string | undefined =>
  Array.isArray(header) ? header.join(',') : header;
