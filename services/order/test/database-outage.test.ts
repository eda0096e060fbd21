import { client, eventually, openProxy, type TcpProxy } from '@warren/testkit';
import { expect } from 'chai';
import { signUpOf, withOrders } from './support.ts';

describe('an order whose payment cannot arrive because the database is unavailable', () => {
  const orders = withOrders();
  const TIMEOUT = 3_000;
  let line: TcpProxy;

  before(async () => {
    line = await openProxy(orders.database.url);
  });
  after(async () => {
    await orders.stopAll();
    await line.close();
  });

  it('is not cancelled until PAYMENT_TIMEOUT after the database has recovered', async function () {
    this.timeout(120_000);
    const running = await orders.start({ DATABASE_URL: line.url, PAYMENT_TIMEOUT: `${TIMEOUT}ms` });
    const user = signUpOf();
    await orders.publish(user);
    const wanted = { userId: user.userId, productName: 'A book', price: 12.5 };
    const { orderId, createdAt } = await eventually(async () => {
      const { status, body } = await orders.http().post('/orders', wanted);
      expect(status).to.equal(201);
      return body;
    });

    line.refuse(true);
    await eventually(
      async () => {
        const { body } = await client(running.adminUrl).get('/readyz');
        expect(body.database).to.equal('unreachable');
        expect(Date.now()).to.be.above(Date.parse(createdAt) + TIMEOUT);
      },
      { timeout: 30_000 },
    );
    const back = Date.now();
    line.refuse(false);

    await eventually(async () => expect((await orders.orderOf(orderId)).status).to.equal('cancelled'), {
      timeout: 40_000,
    });
    expect(Date.now() - back).to.be.at.least(TIMEOUT);
  });
});
