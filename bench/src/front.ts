// An address that stays while the process behind it is replaced, as that of a Service in a cluster.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';

export class Front {
  readonly url: string;
  /** Where new connections go. Those that are open stay where they are. */
  port: number;
  readonly #server: Server;

  static async open(port: number): Promise<Front> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Front(server, port);
  }

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('connection', (from) => {
      const to = connect(this.port, '127.0.0.1');
      for (const [one, other] of [
        [from, to],
        [to, from],
      ] as const) {
        one.setNoDelay(true);
        one.on('error', () => {});
        one.on('close', () => other.destroySoon());
        one.pipe(other);
      }
    });
  }

  close(): void {
    this.#server.close();
  }
}
