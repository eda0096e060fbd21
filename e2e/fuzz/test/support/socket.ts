// Bytes to a port and back, without an HTTP client in between.
import { connect } from 'node:net';

/** ms without an answer after which the client ends its side: it only decides how much a case sees. */
const QUIET_MS = 150;
/** ms after which a connection counts as stuck: above every deadline of the services. */
const STUCK_MS = 60_000;

/**
 * Writes the pieces one after the other, reads until the other side closes.
 * @returns what came back, in Latin-1; a reset counts as the end
 * @throws {Error} when the connection stays open after the client has ended its side
 */
export function converse(origin: string, pieces: readonly Buffer[]): Promise<string> {
  const { hostname, port } = new URL(origin);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    const chunks: Buffer[] = [];
    let quiet: NodeJS.Timeout | undefined;
    let refused: Error | undefined;
    const stuck = setTimeout(() => {
      socket.destroy();
      reject(new Error(`the connection is open ${STUCK_MS} ms after the last byte`));
    }, STUCK_MS);
    socket.on('connect', () => {
      for (const piece of pieces) socket.write(piece);
      quiet = setTimeout(() => socket.end(), QUIET_MS);
    });
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      clearTimeout(quiet);
      quiet = setTimeout(() => socket.end(), 20);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') refused = error;
    });
    socket.on('close', () => {
      clearTimeout(quiet);
      clearTimeout(stuck);
      if (refused) reject(refused);
      else resolve(Buffer.concat(chunks).toString('latin1'));
    });
  });
}
