// The line between a service and what it needs: a TCP relay that a test can cut without touching either end.
import { connect, createServer, type Server, type Socket } from 'node:net';

export interface Cable {
  /** The URL that was given, leading through here. */
  url: string;
  /** Connections break, and new ones are refused. */
  cut(): Promise<void>;
  /** Connections stay, and nothing moves on them any more; new ones are accepted and get no answer. */
  freeze(): void;
  /** As before; what was frozen moves on. */
  mend(): Promise<void>;
  close(): Promise<void>;
}

/** @param url of a broker or a database on this machine */
export async function openCable(url: string): Promise<Cable> {
  const there = new URL(url);
  const sockets = new Set<Socket>();
  let frozen = false;
  let server: Server | undefined;

  const accept = (near: Socket) => {
    const far = connect({ host: there.hostname, port: Number(there.port), noDelay: true });
    near.setNoDelay(true);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on('data', (chunk) => other.write(chunk));
      one.on('error', () => other.destroy());
      one.on('end', () => other.end());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
      if (frozen) one.pause();
    }
  };
  const listen = (port: number) =>
    new Promise<number>((resolve, reject) => {
      const opened = createServer(accept);
      opened.once('error', reject);
      opened.listen(port, '127.0.0.1', () => {
        server = opened;
        resolve((opened.address() as { port: number }).port);
      });
    });
  const cut = async () => {
    const closing = server;
    server = undefined;
    const closed = new Promise((resolve) => (closing ? closing.close(resolve) : resolve(undefined)));
    for (const socket of sockets) socket.resetAndDestroy();
    await closed;
  };

  const port = await listen(0);
  const here = new URL(url);
  here.hostname = '127.0.0.1';
  here.port = String(port);
  return {
    url: here.href,
    cut,
    freeze() {
      frozen = true;
      for (const socket of sockets) socket.pause();
    },
    async mend() {
      frozen = false;
      for (const socket of sockets) socket.resume();
      if (server === undefined) await listen(port);
    },
    close: cut,
  };
}
