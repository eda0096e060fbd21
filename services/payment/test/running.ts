// The whole service, as the tests of it start it.
import { type RunningService, start } from '@warren/chassis';
import {
  client,
  environmentOf,
  eventually,
  type TestBroker,
  type TestDatabase,
  withReplicas,
} from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';

export interface Running {
  service: RunningService;
  http: ReturnType<typeof client>;
}

export const environment = (broker: TestBroker, database: TestDatabase) => ({
  ...environmentOf('payment', { broker, database }),
  PROVIDER_LATENCY: '0s',
});

/** Starts replicas of it. */
export function replicas(broker: TestBroker, database: TestDatabase) {
  const { start: startOne, stopAll } = withReplicas((env) => start(service, env), {
    name: 'payment',
    broker,
    database,
    env: { PROVIDER_LATENCY: '0s' },
  });
  return {
    async startWith(env: Record<string, string> = {}): Promise<Running> {
      const started = await startOne(env);
      return { service: started, http: client(started.url) };
    },
    stopAll,
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
