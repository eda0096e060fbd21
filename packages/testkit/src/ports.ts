import { randomInt } from 'node:crypto';
import { connect, createServer } from 'node:net';

/**
 * Below the range of ephemeral ports: a client that reconnects again and again to the port of a stopped server would one day
 * get that port for its own end.
 */
const [lowest, highest] = [20_000, 29_999];
const given = new Set<number>();

/** A TCP port that nothing listened on a moment ago, and that no other caller in this process got. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(lowest, highest + 1);
    if (given.has(port)) continue;
    // Before the check, which takes a while: another call may draw the same number meanwhile.
    given.add(port);
    if (!(await isTaken(port))) return port;
  }
}

export const freePorts = (count: number): Promise<number[]> =>
  Promise.all(Array.from({ length: count }, () => freePort()));

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

function listen(port: number, host: string) {
  return new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host, exclusive: true }, () => resolve(server));
  });
}
