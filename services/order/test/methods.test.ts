import { randomUUID } from 'node:crypto';
import { listOrders } from '@warren/contracts';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { payment, withOrders } from './support.ts';

describe('order.list over the broker', () => {
  const orders = withOrders();
  const ask = (userId: string) => orders.broker.ask(listOrders.routingKey, { userId });

  before(async () => {
    await orders.start();
    await eventually(() => ask(randomUUID()));
  });

  it('answers what GET /orders?userId= answers', async () => {
    const { userId, ...order } = await orders.newOrder({ price: 0.1, currency: 'USD' });
    await orders.deliver(payment.failed({ userId, ...order }));
    const { body } = await orders.http().get(`/orders?userId=${userId}`);
    expect(body.items).to.have.length(2);
    expect(await ask(userId)).to.deep.equal(body);
    expect(await ask(userId.toUpperCase())).to.deep.equal(body);
  });

  it('answers an empty list for a user without orders, 400 for an id that is none', async () => {
    expect(await ask(randomUUID())).to.deep.equal({ items: [] });
    const invalid = await ask('42');
    expect(invalid).to.include({ status: 400, code: 'invalid_input' });
    expect(invalid.errors[0].path).to.equal('userId');
  });
});
