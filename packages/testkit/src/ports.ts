import { createServer } from 'node:net';

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

/** Whether something listens on this port already. */
export async function isTaken(port: number): Promise<boolean> {
  try {
    const server = await listen(port, '::').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') throw error;
      return listen(port, '0.0.0.0');
    });
    await new Promise((closed) => server.close(closed));
    return false;
  } catch {
    return true;
  }
}

function listen(port: number, host = '127.0.0.1') {
  return new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host, exclusive: true }, () => resolve(server));
  });
}
