// The request/reply of one service: who asks, who serves, and the line they share.
import type { Auth } from '../auth/auth.ts';
import type { Logger } from '../context.ts';
import type { ReadContext } from '../http/routes.ts';
import type { BrokerState, Messaging } from '../messaging/connection.ts';
import type { Producers } from '../messaging/producers.ts';
import { replySubscription, requestQueue } from '../messaging/topology.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { Asker, type RequestFor, requestNothing } from './asker.ts';
import { Line } from './line.ts';
import type { Served } from './serve.ts';
import { RpcServer } from './server.ts';

export interface Rpc {
  requestFor: RequestFor;
  /** The broker came or went. */
  moved(state: BrokerState): void;
  close(): Promise<void>;
}

export interface RpcOptions {
  service: string;
  /** Whether broker.ts has it receive replies. */
  asks: boolean;
  methods: readonly Served[];
  producers: Producers;
  /** Absent with AUTH=off. */
  auth?: Auth | undefined;
  /** Handlers at once. */
  concurrency: number;
  context: Pick<ReadContext, 'database' | 'config' | 'now'>;
  log: Logger;
  metrics: Metrics;
}

/** Before `messaging.start()`. */
export function createRpc(messaging: Messaging, options: RpcOptions): Rpc {
  const { service, asks, methods } = options;
  if (!asks && methods.length === 0)
    return { requestFor: requestNothing, moved: () => {}, close: async () => {} };

  const line = new Line(() => messaging.connect());
  const available = () => messaging.state === 'connected';
  const asker = asks ? new Asker({ ...options, line, available }) : undefined;
  const requestFor = asker?.requestFor ?? requestNothing;
  // What is drained may still wait for a reply.
  if (asker !== undefined)
    messaging.subscribe(replySubscription(service), (session, queue) => asker.attach(session, queue), {
      last: true,
    });
  if (methods.length > 0) {
    const server = new RpcServer({ ...options, line, requestFor });
    messaging.subscribe(requestQueue(service), (session) => server.attach(session));
  }
  return {
    requestFor,
    moved(state) {
      if (state !== 'connected') asker?.lost();
      // Opened before it is needed; where that fails, with the first request.
      else line.open().catch(() => {});
    },
    async close() {
      asker?.lost();
      await line.close();
    },
  };
}
