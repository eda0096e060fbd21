// Limits connections, in total and of one client. An idle connection is closed for a new one.
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export interface Connections {
  /** @returns the limit that is reached, and then it is not counted; undefined if it is accepted */
  open(socket: Socket): 'all' | 'client' | undefined;
  /** Until the response is over, its connection is not idle. */
  use(socket: Socket, response: ServerResponse): void;
}

interface Idle {
  /** Bytes that were received when it became idle; more means that a request arrives. */
  read: number;
}

/**
 * @param options.all connections at once
 * @param options.ofClient of one client
 * @param options.clientOf the client of a connection; undefined for a proxy, behind which all clients have one address
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
