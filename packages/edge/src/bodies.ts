// Bodies of requests on their way in. What is small is there in whole before it costs a connection to the upstream.
import type { IncomingMessage } from 'node:http';
import { Transform } from 'node:stream';
import { type Problem, problem, RETRY_SHORTLY } from '@warren/chassis';

/** What the smallest counts for: so there are not too many of them either. Bytes */
const LEAST = 1024;

/**
 * Bytes of room that a request needs while it is there; 0 without a body.
 * @param buffer bytes that are awaited before a connection is taken; a larger body streams from then on
 */
export function roomFor({ headers }: IncomingMessage, buffer: number): number {
  if (headers['transfer-encoding'] !== undefined) return buffer;
  const length = Number(headers['content-length'] ?? 0);
  return length === 0 ? 0 : Math.max(LEAST, Math.min(length, buffer));
}

/**
 * Waits for the body, or for as much of it as there is room for.
 * @param options.timeout ms between two pieces
 * @returns the whole; undefined when there is more of it, and then the request is to be read from the beginning of its body
 * @throws {Problem} 408, 413; the reason of the signal
 */
export function gather(
  request: IncomingMessage,
  options: { room: number; limit: number; timeout: number; signal: AbortSignal },
): Promise<Buffer | undefined> {
  const { room, limit, timeout, signal } = options;
  const { promise, resolve, reject } = Promise.withResolvers<Buffer | undefined>();
  // In one piece from the start: a body in very many pieces takes no more memory than another.
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

/** The body of the request as it goes on: counted, and every piece of it told. It ends with the client's connection, not before. */
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
