// How many connections there may be, in all and of one client. Idle ones make room for new ones.
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export interface Connections {
  /** @returns `all` or `client` when it is over that bound, and is not counted; undefined when it is let in */
  open(socket: Socket): 'all' | 'client' | undefined;
  /** Until the response is over, its connection is not idle. */
  use(socket: Socket, response: ServerResponse): void;
}

interface Idle {
  /** Of what has come when it became idle; more of it means that a request is on its way. Bytes */
  read: number;
}

/**
 * @param options.all connections at once
 * @param options.ofClient of one client
 * @param options.clientOf whose it is; undefined for a proxy, behind which everybody has one address
 */
export function createConnections(options: {
  all: number;
  ofClient: number;
  clientOf: (socket: Socket) => string | undefined;
}): Connections {
  const { all, ofClient, clientOf } = options;
  const byClient = new Map<string, number>();
  const used = new Map<Socket, number>();
  /** Longest idle first. */
  const idle = new Map<Socket, Idle>();

  const rest = (socket: Socket) => idle.set(socket, { read: socket.bytesRead });

  function closeOneIdle(): boolean {
    for (const [socket, { read }] of idle) {
      idle.delete(socket);
      if (socket.destroyed || socket.bytesRead !== read) continue;
      socket.destroy();
      return true;
    }
    return false;
  }

  return {
    open(socket) {
      const client = clientOf(socket);
      const held = client === undefined ? 0 : (byClient.get(client) ?? 0);
      if (client !== undefined && held >= ofClient) return 'client';
      if (used.size >= all && !closeOneIdle()) return 'all';
      used.set(socket, 0);
      if (client !== undefined) byClient.set(client, held + 1);
      rest(socket);
      socket.once('close', () => {
        used.delete(socket);
        idle.delete(socket);
        if (client === undefined) return;
        const left = (byClient.get(client) ?? 0) - 1;
        if (left > 0) byClient.set(client, left);
        else byClient.delete(client);
      });
      return undefined;
    },

    use(socket, response) {
      const before = used.get(socket);
      if (before === undefined || response.closed) return;
      idle.delete(socket);
      used.set(socket, before + 1);
      response.once('close', () => {
        const left = (used.get(socket) ?? 0) - 1;
        if (left < 0) return;
        used.set(socket, left);
        if (left === 0) rest(socket);
      });
    },
  };
}
