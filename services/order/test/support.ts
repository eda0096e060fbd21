import { randomUUID } from 'node:crypto';
import { type RunningService, start } from '@warren/chassis';
import { type Order, paymentFailed, paymentProcessed, paymentRefunded, userCreated } from '@warren/contracts';
import {
  client,
  eventually,
  message,
  type Probe,
  type TestMessage,
  withBroker,
  withDatabase,
  withReplicas,
} from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';

export const signUpOf = (userId: string = randomUUID()) => ({
  userId,
  ...message(userCreated, { userId, name: 'Ada Lovelace', email: 'ada@example.com' }),
});

type Paid = Pick<Order, 'orderId' | 'userId' | 'price' | 'currency'>;

const factsOf = ({ orderId, userId, price, currency }: Paid) => ({
  paymentId: randomUUID(),
  orderId,
  userId,
  amount: price,
  currency,
});

/** What payment may say of an order. */
export const payment = {
  processed: (order: Paid) => message(paymentProcessed, factsOf(order)),
  failed: (order: Paid, reason = 'limit_exceeded') => message(paymentFailed, { ...factsOf(order), reason }),
  refunded: (order: Paid, reason = 'payment_timeout') =>
    message(paymentRefunded, { ...factsOf(order), reason }),
};

/** A broker and a database for the service, and what its tests do with it. */
export function withOrders() {
  const broker = withBroker({ services: ['order'] });
  const database = withDatabase();
  let probe: Probe;

  before('a probe', async () => {
    probe = await broker.probe('events', 'order.#');
  });
  const replicas = withReplicas((env) => start(service, env), { name: 'order', broker, database });

  const publish = async (...events: Pick<TestMessage, 'published'>[]) => {
    await Promise.all(events.map(({ published }) => broker.publish(...published)));
  };
  const http = () => client((replicas.running[0] as RunningService).url);
  /** Waits until the service has dealt with these events, whatever came of them. */
  const heard = (...events: { id: string }[]) =>
    eventually(async () => {
      const ids = events.map(({ id }) => id);
      const rows = await database.admin('select 1 from warren.inbox where message_id = any ($1)', [ids]);
      expect(rows).to.have.length(new Set(ids).size);
    });
  const place = async (userId: string, more: object = {}) => {
    const wanted = { userId, productName: 'A book', price: 12.5, ...more };
    const { status, body } = await http().post('/orders', wanted);
    expect(status, JSON.stringify(body)).to.equal(201);
    return body as Order;
  };
  const signUp = async () => {
    const event = signUpOf();
    await publish(event);
    await heard(event);
    return event.userId;
  };

  const counter = async (line: string): Promise<number> => {
    const texts = await Promise.all(
      replicas.running.map(async ({ adminUrl }) => (await client(adminUrl).get('/metrics')).text),
    );
    return texts
      .flatMap((text) => text.split('\n'))
      .filter((each) => each.startsWith(line))
      .reduce((sum, each) => sum + Number(each.slice(line.length)), 0);
  };

  return {
    broker,
    database,
    start: replicas.start,
    stopAll: replicas.stopAll,
    publish,
    http,
    heard,
    place,
    signUp,
    get probe() {
      return probe;
    },

    async deliver(...events: Pick<TestMessage, 'id' | 'published'>[]): Promise<void> {
      await publish(...events);
      await heard(...events);
    },

    /** A new order of a new user. */
    async newOrder(more: object = {}): Promise<Order> {
      return place(await signUp(), more);
    },

    async orderOf(orderId: string): Promise<Order> {
      return (await http().get(`/orders/${orderId}`)).body;
    },

    /** The types of all events about an order so far: what was committed before has been published. */
    async told(orderId: string): Promise<string[]> {
      const last = await place(await signUp());
      await probe.waitFor(({ body }) => body.subject === last.orderId);
      return probe.events.filter(({ body }) => body.subject === orderId).map(({ body }) => body.type);
    },

    /** How often the saga refused this, over all replicas. */
    refused: (status: string, event: string) =>
      counter(`order_transitions_refused_total{status="${status}",event="${event}"} `),
    /** How often a payment did not fit its order, over all replicas. */
    unfit: (event: string) => counter(`order_payments_unfit_total{event="${event}"} `),

    async row(orderId: string) {
      const [row] = await database.admin<{ status: string; reason: string | null; price: number }>(
        'select status, reason, price from orders where id = $1',
        [orderId],
      );
      return row;
    },

    /** When the order will be looked at again; undefined when nothing is scheduled. */
    async dueAt(orderId: string): Promise<Date | undefined> {
      const [row] = await database.admin<{ due_at: Date }>(
        `select due_at from warren.tasks where kind = 'order.expire' and key = $1`,
        [orderId],
      );
      return row?.due_at;
    },
  };
}
