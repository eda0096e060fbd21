// The bytes of a request's body, decoded. zlib's one-shot functions own their stream: its errors reach nobody else.
import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate, type ZlibOptions } from 'node:zlib';
import { type Problem, problem } from '../errors.ts';

type Decode = (bytes: Buffer, options: ZlibOptions) => Promise<Buffer>;

/** Content codings; their names are case-insensitive. https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1 */
const CODINGS: Record<string, Decode> = {
  gzip: promisify<Buffer, ZlibOptions, Buffer>(gunzip),
  'x-gzip': promisify<Buffer, ZlibOptions, Buffer>(gunzip),
  deflate: promisify<Buffer, ZlibOptions, Buffer>(inflate),
  br: promisify<Buffer, ZlibOptions, Buffer>(brotliDecompress),
};

/**
 * Reads the body of a request whole.
 * @param limit bytes, as sent and after decoding
 * @throws {Problem} 400 `invalid_encoding` for a damaged body, 400 when the client left, 413, 415 for an unknown coding
 */
export async function readContent(request: IncomingMessage, limit: number): Promise<Buffer> {
  const coding = (request.headers['content-encoding'] ?? 'identity').trim().toLowerCase();
  if (coding !== 'identity' && !Object.hasOwn(CODINGS, coding))
    throw problem(415, {
      detail: 'The content-encoding of the body is not supported.',
      headers: { 'accept-encoding': 'gzip, deflate, br' },
    });
  const bytes = await receive(request, limit);
  if (coding === 'identity') return bytes;
  try {
    return await (CODINGS[coding] as Decode)(bytes, { maxOutputLength: limit });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(limit, error);
    throw invalidEncoding(`The body cannot be decoded as ${coding}: ${message}.`, error);
  }
}

/** Leaves the rest of a body that is too large to the server, which reads it to its end after the response. */
async function receive(request: IncomingMessage, limit: number): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge(limit);
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    // Destroying a request would close its connection before the response.
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      length += chunk.length;
      if (length > limit) break;
      chunks.push(chunk);
    }
  } catch (cause) {
    throw problem(400, { detail: 'The body is incomplete.', cause });
  }
  if (length > limit) throw tooLarge(limit);
  return Buffer.concat(chunks, length);
}

export const invalidEncoding = (detail: string, cause: unknown): Problem =>
  problem(400, { title: 'Invalid encoding', code: 'invalid_encoding', detail, cause });

const tooLarge = (limit: number, cause?: unknown): Problem =>
  problem(413, { detail: `The request body exceeds the limit of ${limit} bytes.`, cause });
