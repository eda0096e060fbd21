import { connect, createServer } from 'node:net';

/** A TCP port that nothing listened on a moment ago. */
export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  return port as number;
}

/** Several at once, so that no two of them are the same. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => listen(0)));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
  return ports;
}

/** Whether something listens on this port already, on any address of this machine. */
export async function isTaken(port: number): Promise<boolean> {
  // Both, since some systems let a second one listen on all addresses while the first has a single one.
  const answers = await Promise.all(['127.0.0.1', '::1'].map((host) => accepts(port, host)));
  if (answers.includes(true)) return true;
  for (const host of ['::', '0.0.0.0']) {
    try {
      const server = await listen(port, host);
      await new Promise((closed) => server.close(closed));
      return false;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAFNOSUPPORT') return true;
    }
  }
  return false;
}

function accepts(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host, timeout: 1_000 });
    const answer = (yes: boolean) => () => {
      socket.destroy();
      resolve(yes);
    };
    socket.once('connect', answer(true)).once('error', answer(false)).once('timeout', answer(false));
  });
}

function listen(port: number, host = '127.0.0.1') {
  return new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host, exclusive: true }, () => resolve(server));
  });
}
