// A TCP proxy between a service and a server, which a test can cut or freeze without touching either.
import { connect, createServer, type Server, type Socket } from 'node:net';

export interface TcpProxy {
  /** The given URL, through this proxy. */
  url: string;
  /** Resets all connections, and refuses new ones. */
  cut(): Promise<void>;
  /** Keeps all connections open, but forwards nothing; accepts new ones without a response. */
  freeze(): void;
  /** Ends a cut or a freeze. */
  restore(): Promise<void>;
  close(): Promise<void>;
}

/** @param url of a broker or a database on this machine */
export async function openTcpProxy(url: string): Promise<TcpProxy> {
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
    async restore() {
      frozen = false;
      for (const socket of sockets) socket.resume();
      if (server === undefined) await listen(port);
    },
    close: cut,
  };
}
