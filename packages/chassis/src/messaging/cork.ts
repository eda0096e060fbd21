// amqplib writes each frame by itself, and each write is a system call, here and at the broker.
import type { Socket } from 'node:net';

const corked = new WeakSet<Socket>();

/** Has what is written to a socket in one turn of the event loop leave in one system call. */
export function corkWrites(socket: Socket): void {
  if (corked.has(socket)) return;
  corked.add(socket);
  const write = socket.write;
  let isCorked = false;
  socket.write = function (this: Socket, ...args: Parameters<Socket['write']>) {
    if (!isCorked) {
      isCorked = true;
      socket.cork();
      process.nextTick(() => {
        isCorked = false;
        socket.uncork();
      });
    }
    return write.apply(socket, args);
  } as Socket['write'];
}
