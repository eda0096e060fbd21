// A consumer without its database: subscription, intake, producer and contract checks, batches, acknowledgements by range, log lines
// and metrics are those of a service; a batch runs its handlers, which do nothing, without a transaction and an inbox. Run with JSON
// and prints JSON, as ../peers/raw/consume.ts, which it is compared with. With a count of 0 it only declares its queue.
import { orderCreated } from '@warren/contracts';
import type { PieceOfWork, UnitsOfWork, WorkContext } from '../../packages/chassis/src/context.ts';
import { defineBroker } from '../../packages/chassis/src/messaging/broker.ts';
import { Messaging } from '../../packages/chassis/src/messaging/connection.ts';
import { Consumer } from '../../packages/chassis/src/messaging/consumer.ts';
import { FailedMessagePublisher } from '../../packages/chassis/src/messaging/failed-message-publisher.ts';
import { Intake } from '../../packages/chassis/src/messaging/intake.ts';
import { Producers } from '../../packages/chassis/src/messaging/producers.ts';
import { reportTo } from '../../packages/chassis/src/messaging/reports.ts';
import { parseDelays, RETRY_DELAYS } from '../../packages/chassis/src/messaging/retry-delays.ts';
import { rascalConfig } from '../../packages/chassis/src/messaging/topology.ts';
import { createLog, createMetrics } from '../../packages/chassis/src/telemetry/index.ts';
import { measure, type Usage } from '../peers/raw/usage.ts';

const { url, service, count } = JSON.parse(process.argv[2] ?? '') as {
  /** Of the service's broker user. */
  url: string;
  service: string;
  /** Messages that wait in its queue for `order.created`. */
  count: number;
};
/** As in service.ts. */
const CONCURRENCY = 5;
const HANDLER_TIMEOUT_MS = 30_000;
const RETENTION_MS = 30 * 86_400_000;

const log = createLog({ service, version: '0', level: 'info' });
const metrics = createMetrics({ service, version: '0', http: false, database: true, broker: true });
const producers = new Producers({ service, url, check: 'enforce', operators: [], log, metrics });
const queue = `${service}.order.created` as const;
const declared = {
  event: orderCreated,
  prefetch: 200,
  redeliveries: { limit: 10 },
  retry: RETRY_DELAYS,
  deadLetters: `${queue}.dlq` as const,
};
const broker = defineBroker(service, {
  vhosts: { publish: {}, consume: { subscriptions: { [queue]: declared } } },
});
const messaging = new Messaging({
  url,
  name: service,
  config: () => rascalConfig(broker),
  log,
});
const failedMessages = new FailedMessagePublisher({
  service,
  user: producers.user,
  connect: () => messaging.connect(),
  onMissing: () => messaging.checkTopology(),
  replica: { instance: service, version: '0' },
});
const handled = countHandled();
const consumer = new Consumer({
  queue,
  handlers: [{ event: orderCreated, handle: async () => {} }],
  units: handled.units,
  availability: { check: async () => true },
  intake: new Intake({
    limit: (name, prefetch) => messaging.limit(name, prefetch),
    settled: () => messaging.settled(),
  }),
  failedMessages,
  producers,
  deliveryLimit: declared.redeliveries.limit,
  retryDelays: parseDelays(RETRY_DELAYS.default) ?? [],
  concurrency: CONCURRENCY,
  retention: RETENTION_MS,
  timeout: HANDLER_TIMEOUT_MS,
  log,
  report: reportTo(metrics, { queue, type: orderCreated.type }),
  now: () => new Date(),
});
messaging.subscribe(queue, (session, _, releasing) => consumer.attach(session, releasing));

messaging.start();
await messaging.connected();
if (count > 0) console.log(JSON.stringify(await handled.all));
// The acks of the last batch follow its handlers.
await messaging.settled();
await messaging.unsubscribe(10_000);
await failedMessages.close();
await messaging.close();

/** Units of work without a database: every message counts as new. */
function countHandled(): { units: UnitsOfWork; all: Promise<Usage> } {
  const { promise: all, resolve } = Promise.withResolvers<Usage>();
  const { done } = measure(count);
  const batch: UnitsOfWork['batch'] = async (pieces, { first } = {}) => {
    const ids = (pieces as readonly (PieceOfWork & { inboxId?: string })[]).map(({ inboxId }) => inboxId);
    const inserted = { rows: ids.map((message_id) => ({ message_id })) };
    const chosen = (await first?.(async () => inserted as never)) ?? pieces;
    await Promise.all(chosen.map((piece) => piece.run({} as WorkContext, { hasWritten: () => false })));
    for (const _ of chosen) {
      const usage = done();
      if (usage !== undefined) resolve(usage);
    }
  };
  return { units: { batch } as UnitsOfWork, all };
}
