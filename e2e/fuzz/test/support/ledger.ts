// Where every event went: handled, recognised as a duplicate, or in a dead-letter queue. Nothing else is allowed.
import { managementOf, type TestBroker } from '@warren/testkit';
import { connect } from 'amqplib';
import type { Name, Replica } from '../../../support/src/index.ts';

export interface Ledger {
  /** Begins to count. */
  open(): Promise<void>;
  /** For each work queue that lacks some: how many messages came to it and are nowhere. */
  missing(): Promise<Record<string, number>>;
}

interface Binding {
  destination: string;
  destination_type: string;
  routing_key: string;
}

/** The prefix of the queues that keep a copy of each event: their lengths are the counts. */
const COUNT = 'e2e.count.';

export function createLedger(broker: TestBroker, replicaOf: (service: Name) => Replica): Ledger {
  const api = () => managementOf({ url: broker.adminUrl, managementUrl: broker.managementUrl });
  const vhost = () => encodeURIComponent(broker.vhost);
  /** Work queues with the routing keys that lead to them. */
  const queues = new Map<string, string[]>();

  return {
    async open() {
      const bindings =
        (await api().request<Binding[]>('GET', `exchanges/${vhost()}/events/bindings/source`)) ?? [];
      for (const { destination, destination_type, routing_key } of bindings) {
        if (destination_type !== 'queue' || /[#*]/.test(routing_key)) continue;
        queues.set(destination, [...(queues.get(destination) ?? []), routing_key]);
      }
      for (const key of new Set([...queues.values()].flat())) {
        await api().request('PUT', `queues/${vhost()}/${COUNT}${key}`, { durable: true });
        await api().request('POST', `bindings/${vhost()}/e/events/q/${COUNT}${key}`, { routing_key: key });
      }
    },

    async missing() {
      const connection = await connect(broker.adminUrl, { noDelay: true });
      try {
        const channel = await connection.createChannel();
        const depth = async (queue: string) => (await channel.checkQueue(queue)).messageCount;
        const missing: Record<string, number> = {};
        for (const [queue, keys] of queues) {
          const replica = replicaOf(queue.split('.')[0] as Name);
          const counted = await Promise.all(
            ['handled', 'duplicate'].map((outcome) =>
              replica.metric('events_consumed_total', { queue, outcome }),
            ),
          );
          const settled = counted.reduce((sum, count) => sum + count, 0) + (await depth(`${queue}.dlq`));
          let came = 0;
          for (const key of keys) came += await depth(COUNT + key);
          if (came > settled) missing[queue] = came - settled;
        }
        return missing;
      } finally {
        await connection.close();
      }
    },
  };
}
