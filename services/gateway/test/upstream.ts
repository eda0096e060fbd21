// Upstreams made in the test: what they were sent, byte for byte, and whatever they like to answer.
import { createServer, type Socket } from 'node:net';

export interface Upstream {
  port: number;
  url: string;
  /** Everything that came, by connection. */
  connections: { socket: Socket; received: string }[];
  /** All request heads that came, in order. */
  heads: string[];
  close(): Promise<void>;
}

/** @param answer called once the head (and, if it has one by Content-Length, the body) of a request is there */
export async function openUpstream(
  answer: (socket: Socket, head: string, body: string) => void = ok,
  options: { onHead?: (socket: Socket, head: string) => void } = {},
): Promise<Upstream> {
  const connections: Upstream['connections'] = [];
  const heads: string[] = [];
  const server = createServer((socket) => {
    const connection = { socket, received: '' };
    connections.push(connection);
    let pending = '';
    let told = false;
    socket.on('error', () => {});
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      connection.received += chunk;
      pending += chunk;
      for (;;) {
        const end = pending.indexOf('\r\n\r\n');
        if (end < 0) return;
        const head = pending.slice(0, end);
        if (!told) {
          told = true;
          heads.push(head);
          options.onHead?.(socket, head);
        }
        const rest = pending.slice(end + 4);
        const size = bodySize(head, rest);
        if (size === undefined) return;
        told = false;
        pending = rest.slice(size);
        answer(socket, head, rest.slice(0, size));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    connections,
    heads,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const { socket } of connections) socket.destroy();
      }),
  };
}

/** Bytes of the body that is there in full; undefined while more has to come. */
function bodySize(head: string, rest: string): number | undefined {
  if (/^transfer-encoding: chunked$/im.test(head)) {
    const end = rest.indexOf('0\r\n\r\n');
    return end < 0 ? undefined : end + 5;
  }
  const size = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
  return rest.length < size ? undefined : size;
}

/** 200 with a few words, on a connection that stays. */
export function ok(socket: Socket): void {
  socket.write('HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello');
}
