import { randomUUID } from 'node:crypto';
import { listPayments } from '@warren/contracts';
import { eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { orderOf } from './events.ts';
import { becomes, type Running, replicas } from './running.ts';

describe('payment.list over the broker', () => {
  const broker = withBroker({ services: ['payment'] });
  const database = withDatabase();
  const { startWith, stopAll } = replicas(broker, database);
  let http: Running['http'];
  const ask = (userId: string) => broker.ask('gateway', listPayments.routingKey, { userId });

  before(async () => {
    ({ http } = await startWith());
    await eventually(() => ask(randomUUID()));
  });
  after(stopAll);

  it('returns the same as GET /payments?userId=, for a payment of every status', async () => {
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

    const answer = await ask(userId);
    expect(answer).to.deep.equal({ items: (await http.get(`/payments?userId=${userId}`)).body.items });
    expect(answer.items.map(({ status }: { status: string }) => status)).to.have.members([
      'processed',
      'refunded',
      'failed',
      'void',
    ]);
  });

  it('returns an empty list for an unknown user and 400 for an invalid id', async () => {
    expect(await ask(randomUUID())).to.deep.equal({ items: [] });
    const invalid = await ask('42');
    expect(invalid).to.include({ status: 400, code: 'invalid_input' });
    expect(invalid.errors[0].path).to.equal('userId');
  });
});
