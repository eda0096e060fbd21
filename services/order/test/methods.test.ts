import { randomUUID } from 'node:crypto';
import {
  defineService,
  get,
  type RunningService,
  receivesReplies,
  sharedExchanges,
  start,
} from '@warren/chassis';
import { listOrders } from '@warren/contracts';
import { client, eventually } from '@warren/testkit';
import { expect } from 'chai';
import { payment, withOrders } from './support.ts';

const asker = defineService({
  name: 'asker',
  version: '0.1.0',
  broker: (settings) => ({
    vhosts: { publish: { exchanges: sharedExchanges() }, consume: receivesReplies('asker', settings) },
  }),
  routes: [get('/orders/:userId', {}, ({ params }, { request }) => request(listOrders, params))],
});

describe('order.list over the broker', () => {
  const orders = withOrders({ services: ['order', 'asker'] });
  let asking: RunningService;
  const ask = (userId: string) => client(asking.url).get(`/orders/${userId}`);

  before(async () => {
    await orders.start();
    const { broker } = orders;
    const env = { PORT: '0', ADMIN_PORT: '0', LOG_LEVEL: 'silent', AMQP_URL: broker.url('asker') };
    asking = await start(asker, env);
    await eventually(async () => expect((await ask(randomUUID())).status).to.equal(200));
  });
  after(() => asking?.stop());

  it('answers what GET /orders?userId= answers', async () => {
    const { userId, ...order } = await orders.newOrder({ price: 0.1, currency: 'USD' });
    await orders.deliver(payment.failed({ userId, ...order }));
    const { body } = await orders.http().get(`/orders?userId=${userId}`);
    expect(body.items).to.have.length(2);
    expect((await ask(userId)).body).to.deep.equal(body);
    expect((await ask(userId.toUpperCase())).body).to.deep.equal(body);
  });

  it('answers an empty list for a user without orders, 400 for an id that is none', async () => {
    expect((await ask(randomUUID())).body).to.deep.equal({ items: [] });
    const { status, body } = await ask('42');
    expect(status).to.equal(400);
    expect(body.errors[0].path).to.equal('userId');
  });
});
