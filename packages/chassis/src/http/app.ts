// The HTTP of a service: its routes on a listening server.
import Koa from 'koa';
import { onMalformed } from './malformed.ts';
import type { HttpOptions } from './options.ts';
import { openRequestScope } from './request-scope.ts';
import { createResponder } from './responder.ts';
import { createHttpServer } from './server.ts';

export interface Http {
  /** @returns the port; another one than requested if that was 0. @throws {WarrenError} `port_taken` */
  listen(port: number, host?: string): Promise<number>;
  /** From now on every response closes its connection; new connections are still accepted. */
  closeAfterResponse(): void;
  /**
   * Stops accepting, responds with `Connection: close`, and resolves when all work is done, including work whose client
   * already received 503. The caller limits the time, and then calls `close`.
   */
  drain(): Promise<void>;
  /** Closes every connection at once. */
  close(): Promise<void>;
}

/** @throws {WarrenError} `invalid_route` */
export function createHttp(options: HttpOptions): Http {
  const { config, log, metrics, edge } = options;
  const inFlight = new Set<Promise<unknown>>();
  const track = (work: Promise<unknown>) => {
    inFlight.add(work);
    const done = () => inFlight.delete(work);
    work.then(done, done);
  };
  const draining = () => server.draining;

  const app = new Koa();
  app.on('error', (error) => log.debug({ err: error }, 'cannot send a response'));
  app.use(openRequestScope({ log, metrics, timeout: config.REQUEST_TIMEOUT, draining }));
  app.use(createResponder(options, { track, draining }));
  const server = createHttpServer(app.callback(), {
    requestTimeout: config.REQUEST_TIMEOUT,
    onConnection: edge?.onConnection?.bind(edge),
    malformed: onMalformed(log, metrics),
  });
  return {
    listen: (port, host) => server.listen(port, host),
    closeAfterResponse: () => server.closeAfterResponse(),
    async drain() {
      await server.drain();
      await Promise.all(inFlight);
    },
    close: () => server.close(),
  };
}
