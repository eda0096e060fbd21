// amqplib writes each frame by itself: a system call, and a walk through Node's streams, for a few hundred bytes.
import type { Socket } from 'node:net';

const gathering = new WeakSet<Socket>();

/** Has what is written to a socket in one turn of the event loop leave in one piece. */
export function gatherWrites(socket: Socket): void {
  if (gathering.has(socket)) return;
  gathering.add(socket);
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
