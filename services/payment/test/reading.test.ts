import { randomUUID } from 'node:crypto';
import { start } from '@warren/chassis';
import { withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';
import { orderOf } from './events.ts';
import { becomes, environment, type Running, replicas } from './running.ts';

describe('reading payments', () => {
  const broker = withBroker({ services: ['payment'] });
  const database = withDatabase();
  const { startWith, stopAll } = replicas(broker, database);
  let http: Running['http'];

  before(async () => {
    ({ http } = await startWith());
  });
  after(stopAll);

  it('lists the payments of an order, of a user, or of both, oldest first', async () => {
    const userId = randomUUID();
    const orders = [];
    for (const price of [1, 2, 3000]) {
      const order = orderOf({ userId, price });
      orders.push(order);
      await broker.publish(...order.created());
      await becomes(http, order.orderId, price > 1000 ? 'failed' : 'processed');
    }
    const { body } = await http.get(`/payments?userId=${userId}`);
    expect(body.items.map(({ amount }: { amount: number }) => amount)).to.deep.equal([1, 2, 3000]);
    const [first] = orders;
    const page = await http.get(`/payments?userId=${userId}&limit=2`);
    expect(page.body.items).to.deep.equal(body.items.slice(0, 2));
    const rest = await http.get(`/payments?userId=${userId}&limit=2&after=${page.body.next}`);
    expect(rest.body).to.deep.equal({ items: body.items.slice(2), next: null });
    for (const query of [
      `orderId=${first!.orderId}`,
      `orderId=${first!.orderId.toUpperCase()}&userId=${userId}`,
    ])
      expect((await http.get(`/payments?${query}`)).body.items).to.deep.equal([body.items[0]]);
    for (const query of [
      `userId=${userId}&after=${randomUUID()}`,
      `userId=${randomUUID()}&after=${page.body.next}`,
      `orderId=${first!.orderId}&after=${page.body.next}`,
    ]) {
      const refused = await http.get(`/payments?${query}`);
      expect([refused.status, refused.body.code], query).to.deep.equal([400, 'cursor_unknown']);
    }
    const other = `/payments?orderId=${first!.orderId}&userId=${randomUUID()}`;
    expect((await http.get(other)).body).to.deep.equal({ items: [], next: null });
  });

  it('returns an empty list for an unknown order', async () => {
    expect((await http.get(`/payments?orderId=${randomUUID()}`)).body).to.deep.equal({
      items: [],
      next: null,
    });
  });

  it('returns 404 for an unknown payment', async () => {
    const { status, body } = await http.get(`/payments/${randomUUID()}`);
    expect(status).to.equal(404);
    expect(body).to.include({ code: 'payment_unknown', title: 'Payment not found' });
  });

  for (const [path, field] of [
    ['/payments', ''],
    ['/payments?orderId=42', 'orderId'],
    ['/payments?userId=', 'userId'],
    [`/payments?orderId=${randomUUID()}&status=failed`, 'status'],
    [`/payments?orderId={${randomUUID()}}`, 'orderId'],
    ['/payments/42', 'id'],
  ] as const)
    it(`refuses GET ${path.replace(/[\da-f-]{36}/, 'UUID')}, naming what is wrong`, async () => {
      const { status, body } = await http.get(path);
      expect(status).to.equal(400);
      expect(body.errors.map((error: { path: string }) => error.path)).to.deep.equal([field]);
      if (field === '') expect(body.detail).to.contain('orderId').and.contain('userId');
    });

  for (const [name, value] of [
    ['PAYMENT_LIMIT', '-1'],
    ['PAYMENT_LIMIT', '10.001'],
    ['PAYMENT_LIMIT', '10000000'],
    ['PROVIDER_LATENCY', 'soon'],
    ['PROVIDER_LATENCY', '10s'],
    ['PROVIDER_FAILURE_RATE', '1.1'],
    ['PROVIDER_TIMEOUT_RATE', '50%'],
  ] as const)
    it(`refuses to start with ${name}=${value}`, async () => {
      const failure = await start(service, { ...environment(broker, database), [name]: value }).then(
        (started) => started.stop(),
        (error) => error,
      );
      expect(failure).to.have.property('code', 'config_invalid');
      expect(failure.mistakes).to.have.length(1);
      expect(failure.mistakes[0]).to.match(new RegExp(`^${name}: .*got "${value}"`));
    });
});
