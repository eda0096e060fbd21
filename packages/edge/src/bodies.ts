// Bodies of requests. A small one is read in full before its request takes a connection to the upstream.
import type { IncomingMessage } from 'node:http';
import { Transform } from 'node:stream';
import { type Problem, problem, RETRY_SHORTLY } from '@warren/chassis';

/** Bytes that a smaller body counts as, which bounds the number of small ones. */
const LEAST = 1024;

/**
 * Bytes that the body of a request reserves; 0 without a body.
 * @param buffer bytes that are read before a connection is taken; the rest of a larger body streams
 */
export function roomFor({ headers }: IncomingMessage, buffer: number): number {
  if (headers['transfer-encoding'] !== undefined) return buffer;
  const length = Number(headers['content-length'] ?? 0);
  return length === 0 ? 0 : Math.max(LEAST, Math.min(length, buffer));
}

/**
 * Reads the body, or as much of it as `room` holds.
 * @param options.timeout ms between two chunks
 * @returns the whole body; undefined if it is larger, and then the request is still to be read from the beginning of its body
 * @throws {Problem} 408, 413; the reason of the signal
 */
export function gather(
  request: IncomingMessage,
  options: { room: number; limit: number; timeout: number; signal: AbortSignal },
): Promise<Buffer | undefined> {
  const { room, limit, timeout, signal } = options;
  const { promise, resolve, reject } = Promise.withResolvers<Buffer | undefined>();
  // One buffer from the start: a body in many small chunks takes no more memory than another.
  const body = Buffer.allocUnsafe(room);
  let bytes = 0;
  const onPiece = (piece: Buffer) => {
    clock.refresh();
    if (bytes + piece.length > limit) return reject(tooLarge(limit));
    if (bytes + piece.length <= room) {
      bytes += piece.copy(body, bytes);
      return;
    }
    request.pause().off('data', onPiece);
    request.unshift(piece);
    request.unshift(body.subarray(0, bytes));
    resolve(undefined);
  };
  const onEnd = () => resolve(body.subarray(0, bytes));
  const onGone = () => reject(signal.reason);
  const clock = setTimeout(() => reject(stalled(timeout)), timeout);
  if (signal.aborted) onGone();
  signal.addEventListener('abort', onGone);
  request.on('data', onPiece).on('end', onEnd);
  return promise.finally(() => {
    clearTimeout(clock);
    signal.removeEventListener('abort', onGone);
    request.off('data', onPiece).off('end', onEnd);
  });
}

/** The body as a stream that enforces `limit` and calls `onPiece` for each chunk. Only a lost client ends it early. */
export function meter(
  request: IncomingMessage,
  limit: number,
  onPiece: () => void,
  stop: AbortController,
): Transform {
  let bytes = 0;
  const through = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      onPiece();
      if (bytes <= limit) return done(null, chunk);
      stop.abort(tooLarge(limit));
      done();
    },
  });
  through.on('error', () => {});
  return request.pipe(through);
}

export const tooLarge = (limit: number): Problem =>
  problem(413, { detail: `The request body exceeds the limit of ${limit} bytes.` });

export const stalled = (timeout: number): Problem =>
  problem(408, {
    detail: `No more of the request body arrived within ${timeout} ms.`,
    headers: { connection: 'close' },
  });

export const crowded = (): Problem =>
  problem(503, {
    code: 'gateway_busy',
    detail: 'Too many request bodies are in flight; try again shortly.',
    headers: RETRY_SHORTLY,
  });
