// Request/reply of one service: its client, its server, and the publisher that they share.
import type { Auth } from '../auth/auth.ts';
import type { Log } from '../context.ts';
import type { BrokerState, Messaging } from '../messaging/connection.ts';
import type { Producers } from '../messaging/producers.ts';
import { SharedPublisher } from '../messaging/shared-publisher.ts';
import { replySubscription, requestQueue } from '../messaging/topology.ts';
import { type ReadContext, type RequestFor, rpcNotConfigured } from '../request/context.ts';
import { RpcClient } from './client.ts';
import type { RpcHandler } from './serve.ts';
import { RpcServer } from './server.ts';
import type { RpcMetrics } from './wire.ts';

export interface Rpc {
  requestFor: RequestFor;
  /** Call it at each change of the connection to the broker. */
  onBrokerState(state: BrokerState): void;
  close(): Promise<void>;
}

export interface RpcOptions {
  service: string;
  /** Whether broker.ts subscribes to replies. */
  receivesReplies: boolean;
  methods: readonly RpcHandler[];
  producers: Producers;
  /** Absent with AUTH=off. */
  auth?: Auth | undefined;
  /** Handlers that run at once. */
  concurrency: number;
  context: Pick<ReadContext, 'database' | 'config' | 'now'>;
  log: Log;
  metrics: RpcMetrics;
}

/** Call it before `messaging.start()`. */
export function createRpc(messaging: Messaging, options: RpcOptions): Rpc {
  const { service, receivesReplies, methods } = options;
  if (!receivesReplies && methods.length === 0)
    return { requestFor: rpcNotConfigured, onBrokerState: () => {}, close: async () => {} };

  const publisher = new SharedPublisher(() => messaging.connect());
  const available = () => messaging.state === 'connected';
  const client = receivesReplies ? new RpcClient({ ...options, publisher, available }) : undefined;
  const requestFor = client?.requestFor ?? rpcNotConfigured;
  // Cancelled last: requests that are drained may still wait for a reply.
  if (client !== undefined)
    messaging.subscribe(replySubscription(service), (session, queue) => client.attach(session, queue), {
      untilClose: true,
    });
  if (methods.length > 0) {
    const server = new RpcServer({ ...options, publisher, requestFor });
    messaging.subscribe(requestQueue(service), (session) => server.attach(session));
  }
  return {
    requestFor,
    onBrokerState(state) {
      if (state !== 'connected') client?.failPending();
      // Opened before the first request; if that fails, the first request opens it.
      else publisher.open().catch(() => {});
    },
    async close() {
      client?.failPending();
      await publisher.close();
    },
  };
}
