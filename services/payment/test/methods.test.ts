import { randomUUID } from 'node:crypto';
import {
  defineService,
  get,
  type RunningService,
  receivesReplies,
  sharedExchanges,
  start,
} from '@warren/chassis';
import { listPayments } from '@warren/contracts';
import { client, eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { orderOf } from './events.ts';
import { becomes, type Running, replicas } from './running.ts';

const asker = defineService({
  name: 'asker',
  version: '0.1.0',
  broker: (settings) => ({
    vhosts: { publish: { exchanges: sharedExchanges() }, consume: receivesReplies('asker', settings) },
  }),
  routes: [get('/payments/:userId', {}, ({ params }, { request }) => request(listPayments, params))],
});

describe('payment.list over the broker', () => {
  const broker = withBroker({ services: ['payment', 'asker'] });
  const database = withDatabase();
  const { startWith, stopAll } = replicas(broker, database);
  let http: Running['http'];
  let other: RunningService;
  let asking: ReturnType<typeof client>;

  before(async () => {
    ({ http } = await startWith());
    other = await start(asker, {
      PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: 'silent',
      AMQP_URL: broker.url('asker'),
    });
    asking = client(other.url);
    await eventually(async () =>
      expect((await asking.get(`/payments/${randomUUID()}`)).status).to.equal(200),
    );
  });
  after(() => Promise.all([other?.stop(), stopAll()]));

  it('answers what GET /payments?userId= answers, a payment of every status', async () => {
    const userId = randomUUID();
    const orders = [10, 20, 3000, 40].map((price) => orderOf({ userId, price }));
    const [kept, refunded, failed, unheard] = orders as [(typeof orders)[0], ...typeof orders];
    for (const order of [kept, refunded!, failed!]) await broker.publish(...order.created());
    await becomes(http, kept.orderId, 'processed');
    await becomes(http, refunded!.orderId, 'processed');
    await becomes(http, failed!.orderId, 'failed');
    await broker.publish(...refunded!.cancelled());
    await broker.publish(...unheard!.cancelled());
    await becomes(http, refunded!.orderId, 'refunded');
    await becomes(http, unheard!.orderId, 'void');

    const answer = await asking.get(`/payments/${userId}`);
    expect(answer.status).to.equal(200);
    expect(answer.body).to.deep.equal((await http.get(`/payments?userId=${userId}`)).body);
    expect(answer.body.items.map(({ status }: { status: string }) => status)).to.have.members([
      'processed',
      'refunded',
      'failed',
      'void',
    ]);
  });

  it('answers an empty list for a user nobody knows, 400 for an id that is none', async () => {
    expect((await asking.get(`/payments/${randomUUID()}`)).body).to.deep.equal({ items: [] });
    const invalid = await asking.get('/payments/42');
    expect(invalid.body).to.include({ status: 400, code: 'invalid_input' });
    expect(invalid.body.errors[0].path).to.equal('userId');
  });
});
