// The rate limit: a token bucket for each client, for a bounded number of clients.

/** `requests` at once, and as many again in `per` ms, evenly. Infinite: off. */
export interface Rate {
  requests: number;
  /** ms */
  per: number;
}

export interface Limiter {
  /** Takes one request from the client's share. @returns 0, or ms until the next one is granted */
  take(client: string): number;
}

interface Bucket {
  tokens: number;
  /** ms, of the clock */
  at: number;
}

/** Clients that are remembered, about 10 MB. Above it, the client whose last request is the oldest is forgotten. */
export const CLIENTS = 100_000;

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Parses `100/1s` and the like; `off` is an infinite rate. @returns undefined for anything else */
export function parseRate(text: string): Rate | undefined {
  if (/^off$/i.test(text)) return UNLIMITED;
  const [, requests, amount, unit] = /^(\d{1,9})\/(\d{0,9})(ms|s|m|h)$/.exec(text) ?? [];
  if (requests === undefined) return undefined;
  const rate = { requests: Number(requests), per: Number(amount || 1) * (UNITS[unit as string] as number) };
  return rate.requests > 0 && rate.per > 0 ? rate : undefined;
}

const UNLIMITED: Rate = { requests: Number.POSITIVE_INFINITY, per: 1 };

/** @param clock ms, monotonic */
export function createLimiter({ requests, per }: Rate, clock = () => performance.now()): Limiter {
  if (requests === Number.POSITIVE_INFINITY) return { take: () => 0 };
  // In order of their last request: a Map keeps the order of insertion.
  const buckets = new Map<string, Bucket>();

  return {
    take(client) {
      const now = clock();
      const bucket = buckets.get(client) ?? { tokens: requests, at: now };
      bucket.tokens = Math.min(requests, bucket.tokens + ((now - bucket.at) * requests) / per);
      bucket.at = now;
      buckets.delete(client);
      buckets.set(client, bucket);
      if (buckets.size > CLIENTS) buckets.delete(buckets.keys().next().value as string);
      if (bucket.tokens < 1) return Math.ceil(((1 - bucket.tokens) * per) / requests);
      bucket.tokens -= 1;
      return 0;
    },
  };
}
