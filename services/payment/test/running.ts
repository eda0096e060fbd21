// The whole service, as the tests of it start it.
import { type RunningService, start } from '@warren/chassis';
import { client, eventually, type TestBroker, type TestDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';

export interface Running {
  service: RunningService;
  http: ReturnType<typeof client>;
}

export const environment = (broker: TestBroker, database: TestDatabase) => ({
  PORT: '0',
  ADMIN_PORT: '0',
  AMQP_URL: broker.url('payment'),
  DATABASE_URL: database.url,
  LOG_LEVEL: 'silent',
  PROVIDER_LATENCY: '0s',
});

/** Starts replicas of it; `stopAll` belongs into a hook. */
export function replicas(broker: TestBroker, database: TestDatabase) {
  const running: RunningService[] = [];
  return {
    async startWith(env: Record<string, string> = {}): Promise<Running> {
      const started = await start(service, { ...environment(broker, database), ...env });
      running.push(started);
      await eventually(() => started.ready());
      return { service: started, http: client(started.url) };
    },
    async stopAll() {
      await Promise.all(running.splice(0).map((each) => each.stop()));
    },
  };
}

/** Waits until the order has one payment, of that status, and returns it. */
export const becomes = (http: Running['http'], orderId: string, status: string, timeout = 10_000) =>
  eventually(
    async () => {
      const { body } = await http.get(`/payments?orderId=${orderId}`);
      expect(body.items, 'payments for one order').to.have.length(1);
      expect(body.items[0].status).to.equal(status);
      return body.items[0];
    },
    { timeout },
  );

/** Nothing is left to do, and nothing left to tell. */
export const settled = (database: TestDatabase, timeout = 30_000) =>
  eventually(
    async () => {
      const [left] = await database.admin<{ tasks: number; events: number }>(
        'select (select count(*) from warren.tasks)::int as tasks, (select count(*) from warren.outbox)::int as events',
      );
      expect(left).to.deep.equal({ tasks: 0, events: 0 });
    },
    { timeout },
  );

/** Brings the next attempt at everything forward to now: as if its lease, or its delay, were over. */
export const hurry = (database: TestDatabase) =>
  database.admin('update warren.tasks set due_at = clock_timestamp() where due_at > clock_timestamp()');
