import { randomUUID } from 'node:crypto';
import { LISTED_AT_MOST, listOrders } from '@warren/contracts';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { payment, withOrders } from './support.ts';

describe('order.list over the broker', () => {
  const orders = withOrders();
  const ask = (userId: string) => orders.broker.ask('gateway', listOrders.routingKey, { userId });

  before(async () => {
    await orders.start();
    await eventually(() => ask(randomUUID()));
  });

  it('returns the same as GET /orders?userId=', async () => {
    const { userId, ...order } = await orders.newOrder({ price: 0.1, currency: 'USD' });
    await orders.deliver(payment.failed({ userId, ...order }));
    const { body } = await orders.http().get(`/orders?userId=${userId}`);
    expect(body.items).to.have.length(2);
    expect(await ask(userId)).to.deep.equal({ items: body.items });
    expect(await ask(userId.toUpperCase())).to.deep.equal({ items: body.items });
  });

  it('lists the newest orders, oldest first', async () => {
    const userId = await orders.signUp();
    const ids: string[] = [];
    for (let n = 0; n < LISTED_AT_MOST + 1; n += 1) ids.push((await orders.place(userId)).orderId);
    const { items } = await ask(userId);
    expect(items.map(({ orderId }: { orderId: string }) => orderId)).to.deep.equal(ids.slice(1));
  });

  it('returns an empty list for a user without orders and 400 for an invalid id', async () => {
    expect(await ask(randomUUID())).to.deep.equal({ items: [] });
    const invalid = await ask('42');
    expect(invalid).to.include({ status: 400, code: 'invalid_input' });
    expect(invalid.errors[0].path).to.equal('userId');
  });
});
