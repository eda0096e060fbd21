// Objects of the broker, as its management API shows them.
import type { Management } from '../rabbitmq/management.ts';
import type { Wire } from './wire.ts';

export interface BrokerQueue {
  durable: boolean;
  auto_delete: boolean;
  exclusive: boolean;
  arguments: Record<string, unknown>;
  /** Of the policy that applies. */
  effective_policy_definition?: Record<string, unknown> | [];
}

export interface BrokerExchange {
  type: string;
  durable: boolean;
}

interface Binding {
  source: string;
  destination: string;
  destination_type: string;
  routing_key: string;
}

interface Consumer {
  queue: { name: string; vhost: string };
  channel_details?: { user?: string };
}

/** Reads the objects of one vhost. */
export function brokerObjects({ management, vhost }: Pick<Wire, 'vhost'> & { management: Management }) {
  const at = encodeURIComponent(vhost);
  const get = <T>(path: string) => management.request<T>('GET', path);
  return {
    queue: (name: string) => get<BrokerQueue>(`queues/${at}/${encodeURIComponent(name)}`),
    exchange: (name: string) => get<BrokerExchange>(`exchanges/${at}/${encodeURIComponent(name)}`),
    /** Routing keys by which a queue is bound to an exchange. */
    async keys(queue: string, exchange: string): Promise<string[]> {
      const bindings = (await get<Binding[]>(`queues/${at}/${encodeURIComponent(queue)}/bindings`)) ?? [];
      return bindings.filter(({ source }) => source === exchange).map(({ routing_key }) => routing_key);
    },
    /** Queues that are bound to an exchange, each with its key. */
    async bound(exchange: string): Promise<{ queue: string; key: string }[]> {
      const path = `exchanges/${at}/${encodeURIComponent(exchange)}/bindings/source`;
      const bindings = (await get<Binding[]>(path)) ?? [];
      return bindings
        .filter(({ destination_type }) => destination_type === 'queue')
        .map(({ destination, routing_key }) => ({ queue: destination, key: routing_key }));
    },
    /** The user of the connection that consumes from a queue. */
    async consumerOf(queue: string): Promise<string | undefined> {
      const consumers = (await get<Consumer[]>(`consumers/${at}`)) ?? [];
      return consumers.find((each) => each.queue.name === queue)?.channel_details?.user;
    },
  };
}

export type BrokerObjects = ReturnType<typeof brokerObjects>;
