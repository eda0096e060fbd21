// Serves a file that never changes, plain and compressed: read once, shared by all responses, and revalidated by its ETag.
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';

export type Coding = 'br' | 'gzip' | 'identity';

/** Compresses a whole body. */
export type Encode = (body: Buffer) => Promise<Buffer>;

export interface Asset {
  /** 200 or 304, with `headers` besides. Resolves when the response is over, also when the client leaves in the middle. */
  send(request: IncomingMessage, response: ServerResponse, headers: Record<string, string>): Promise<void>;
}

interface Variant {
  body: Buffer;
  etag: string;
}

/** A compromise: the best quality takes seconds of CPU, and is only 5 % smaller. */
const BROTLI_QUALITY = 6;
/** ms after which a client that reads nothing of its response is disconnected. */
const STALLED = 30_000;

export const ENCODERS: Readonly<Record<Exclude<Coding, 'identity'>, Encode>> = {
  br: (body) =>
    promisify(brotliCompress)(body, { params: { [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY } }),
  gzip: (body) => promisify(gzip)(body),
};

/**
 * @param load reads the file; called with the first request, and again only if it failed
 * @param encoders of the codings to offer; none for a file that is already compressed
 */
export function createAsset(load: () => Promise<Buffer>, encoders: Partial<typeof ENCODERS> = {}): Asset {
  const codings: Coding[] = [...(Object.keys(encoders) as Coding[]), 'identity'];
  const made = new Map<string, Promise<unknown>>();
  /** All callers share one promise; a failure is not kept. */
  const once = <T>(name: string, make: () => Promise<T>): Promise<T> => {
    const before = made.get(name) as Promise<T> | undefined;
    if (before !== undefined) return before;
    const promise = make();
    made.set(name, promise);
    promise.catch(() => made.delete(name));
    return promise;
  };

  const variant = (coding: Coding): Promise<Variant> =>
    once(coding, async () => {
      const plain = await once('file', load);
      const body = coding === 'identity' ? plain : await (encoders[coding] as Encode)(plain);
      // Different bytes need different tags (RFC 9110, section 8.8.3), so each coding has its own.
      return { body, etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"` };
    });

  return {
    async send(request, response, headers) {
      const coding = chooseCoding(request.headers['accept-encoding'], codings);
      const { body, etag } = await variant(coding);
      const unchanged = matches(request.headers['if-none-match'], etag);
      const { 'content-type': type, ...rest } = headers;
      const closed = new Promise<void>((resolve) => {
        if (response.closed) resolve();
        else response.once('close', resolve);
      });
      response.setTimeout(STALLED, () => request.socket.destroy());
      response.writeHead(unchanged ? 304 : 200, {
        ...rest,
        etag,
        ...(codings.length > 1 && { vary: 'accept-encoding' }),
        ...(!unchanged && {
          'content-type': type,
          'content-length': body.length,
          ...(coding !== 'identity' && { 'content-encoding': coding }),
        }),
      });
      response.end(unchanged || request.method === 'HEAD' ? undefined : body);
      await closed;
    },
  };
}

/**
 * The coding of `available` with the highest q-value; `identity` if there is no header, or none of them is accepted.
 * https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
 */
export function chooseCoding(accept: string | undefined, available: readonly Coding[]): Coding {
  if (accept === undefined) return 'identity';
  const weights = new Map<string, number>();
  for (const item of accept.toLowerCase().split(',')) {
    const [, name, q] =
      /^\s*([!#$%&'*+.^_`|~\w-]+)\s*(?:;\s*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?$/.exec(item) ?? [];
    if (name !== undefined) weights.set(name === 'x-gzip' ? 'gzip' : name, Number(q ?? 1));
  }
  // A coding that neither a name nor * covers is refused, except identity, which is only the last choice.
  const weightOf = (coding: Coding) =>
    weights.get(coding) ?? weights.get('*') ?? (coding === 'identity' ? Number.MIN_VALUE : 0);
  let best: Coding = 'identity';
  let most = 0;
  for (const coding of available) {
    const weight = weightOf(coding);
    if (weight > most) [best, most] = [coding, weight];
  }
  return best;
}

/** Whether `If-None-Match` names this tag; weak and strong compare alike there (RFC 9110, section 13.1.2). */
function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  if (header.trim() === '*') return true;
  return [...header.matchAll(/"[^"]*"/g)].some(([tag]) => tag === etag);
}
