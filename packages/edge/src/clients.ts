// The address of a client, and the host that it used: those of the socket, or those that trusted proxies report.
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP, isIPv6 } from 'node:net';
import { hopsOf, type ProxyHeader } from './forwarded.ts';

/** Whether to trust what the proxy at this address reports; the nearest proxy has `hops` 0. */
export type TrustProxy = (address: string, hops: number) => boolean;

export interface Client {
  /** IP address */
  address: string;
  /** From the client to the nearest proxy: the X-Forwarded-For for the upstream. */
  chain: string[];
  proto: string;
  host: string;
}

const MOST_HOPS = 10;

/** `off`, a number of proxies, or a list of addresses and networks; undefined for anything else. */
export function parseTrust(text: string): TrustProxy | undefined {
  if (/^(off|0)$/i.test(text)) return () => false;
  if (/^\d+$/.test(text)) {
    const proxies = Number(text);
    return proxies <= MOST_HOPS ? (_address, hops) => hops < proxies : undefined;
  }
  const trusted = new BlockList();
  for (const item of text.split(',')) {
    const [, address = '', prefix] = /^\s*([\da-fA-F:.]+)(?:\/(\d{1,3}))?\s*$/.exec(item) ?? [];
    const version = isIP(address);
    const bits = version === 6 ? 128 : 32;
    const length = prefix === undefined ? bits : Number(prefix);
    if (version === 0 || length > bits) return undefined;
    trusted.addSubnet(address, length, `ipv${version as 4 | 6}`);
  }
  return (address) => trusted.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}

/**
 * Follows the header of the proxies from its end, as long as the writer of an entry is trusted and the entry has an address. If the
 * last trusted proxy names no address, that proxy counts as the client.
 */
export function clientOf(
  request: IncomingMessage,
  trust: TrustProxy,
  header: ProxyHeader = 'x-forwarded-for',
): Client {
  const nearest = plainAddress(request.socket.remoteAddress ?? '');
  const chain = [nearest];
  let { proto, host }: { proto?: string | undefined; host?: string | undefined } = {};
  for (const hop of hopsOf(request, header)) {
    if (isIP(nearest) === 0 || !trust(chain[0] as string, chain.length - 1)) break;
    proto = hop.proto ?? proto;
    host = hop.host ?? host;
    if (hop.address === undefined) break;
    chain.unshift(plainAddress(hop.address));
  }
  return {
    address: chain[0] as string,
    chain,
    proto: /^https$/i.test(proto ?? '') ? 'https' : 'http',
    host: host !== undefined && HOST.test(host) ? host : (request.headers.host ?? ''),
  };
}

/** A valid `Host`: a host with or without a port. */
export const HOST = /^(?:[\w.~!$&'()*+,=-]*|\[[\da-fA-F:.]+\])(?::\d{0,5})?$/;

/** The key of a client's share: its address; of IPv6 the /64, because one household or server has a whole /64. */
export function shareOf(address: string): string {
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('%', 1)[0]?.split('::') ?? [];
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const dotted = right.at(-1)?.includes('.') ? 1 : 0;
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length - dotted;
  const groups = [...left, ...Array(Math.max(0, zeros)).fill('0'), ...right].slice(0, 4);
  return `${groups.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`;
}

/** An IPv4 address without its IPv6 prefix on a dual-stack socket. */
export const plainAddress = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, '');
