// Without it: amqplib writes each frame by itself, one system call for a few hundred bytes. Another project measured the same patch
// and wants it upstream: toa-io/comq#285, toa-io/comq#290.
import type { Socket } from 'node:net';

const patched = new WeakSet<Socket>();

/** Joins all writes to a socket within one turn of the event loop into one. */
export function gatherWrites(socket: Socket): void {
  if (patched.has(socket)) return;
  patched.add(socket);
  const { write, end } = socket;
  let chunks: Buffer[] = [];
  const flush = () => {
    if (chunks.length === 0) return;
    const bytes = Buffer.concat(chunks);
    chunks = [];
    write.call(socket, bytes);
  };
  socket.write = ((chunk: Buffer, ...more: []) => {
    if (!Buffer.isBuffer(chunk) || more.length > 0) {
      flush();
      return write.call(socket, chunk, ...more);
    }
    if (chunks.length === 0) process.nextTick(flush);
    chunks.push(chunk);
    return !socket.writableNeedDrain;
  }) as Socket['write'];
  socket.end = ((...how: []) => {
    flush();
    return end.apply(socket, how as unknown as Parameters<typeof end>);
  }) as Socket['end'];
}
