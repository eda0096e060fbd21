import { start } from '@warren/chassis';
import type { Order } from '@warren/contracts';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';
import { signUpOf, withOrders } from './support.ts';

describe('the welcome order', () => {
  const orders = withOrders();
  const ordersOf = async (userId: string): Promise<Order[]> =>
    (await orders.http().get(`/orders?userId=${userId}`)).body.items;

  afterEach(() => orders.stopAll());

  it('is placed at the sign-up, for 1.00 EUR, with its correlation id', async () => {
    await orders.start();
    const signUp = signUpOf();
    await orders.deliver(signUp);
    const [order, ...others] = await ordersOf(signUp.userId);
    expect(others).to.have.length(0);
    const { orderId, userId } = order!;
    expect(order).to.include({ productName: 'Welcome kit', price: 1, currency: 'EUR', status: 'pending' });
    const [message] = await orders.probe.waitFor(({ body }) => body.subject === orderId);
    expect(message!.body).to.include({ type: 'order.created', correlationid: signUp.event.correlationid });
    expect(message!.body.data).to.deep.equal({
      orderId,
      userId,
      productName: 'Welcome kit',
      price: 1,
      currency: 'EUR',
    });
  });

  it('has the product and price of WELCOME_PRODUCT and WELCOME_PRICE', async () => {
    await orders.start({ WELCOME_PRODUCT: 'Ein Päckchen', WELCOME_PRICE: '0.29' });
    const [order] = await ordersOf(await orders.signUp());
    expect(order).to.include({ productName: 'Ein Päckchen', price: 0.29 });
    expect(await orders.row(order!.orderId)).to.include({ price: 29 });
  });

  for (const [name, value] of [
    ['WELCOME_PRICE', '0.001'],
    ['WELCOME_PRICE', '-1'],
    ['WELCOME_PRICE', 'free'],
    ['WELCOME_PRODUCT', 'x'.repeat(201)],
    ['WELCOME_PRODUCT', 'two\nlines'],
    ['PAYMENT_TIMEOUT', '0'],
    ['PAYMENT_TIMEOUT', 'soon'],
  ] as const)
    it(`refuses to start with ${name}=${value.slice(0, 10)}, and reports why`, async () => {
      const env = { AMQP_URL: 'amqp://localhost', DATABASE_URL: 'postgres://localhost/none', [name]: value };
      const failure = await start(service, env).catch((error) => error);
      expect(failure).to.include({ code: 'config_invalid' });
      expect(failure.mistakes).to.have.length(1);
      expect(failure.mistakes[0]).to.match(new RegExp(`^${name}: `));
    });

  it('is placed once for 300 deliveries of the same sign-up', async () => {
    await orders.start();
    const signUp = signUpOf();
    await orders.publish(...Array(300).fill(signUp));
    await orders.heard(signUp);
    const [order] = await ordersOf(signUp.userId);
    await eventually(async () => expect(await orders.broker.queueDepth('order.user.created')).to.equal(0));
    expect(await orders.told(order!.orderId)).to.deep.equal(['order.created']);
    expect(await ordersOf(signUp.userId)).to.have.length(1);
  });

  it('is placed once for several concurrent events about the same sign-up, across two replicas', async () => {
    await orders.start();
    await orders.start();
    for (let round = 0; round < 5; round += 1) {
      const { userId, ...first } = signUpOf();
      const events = [first, ...Array.from({ length: 7 }, () => signUpOf(userId))];
      await orders.deliver(...events);
      const [order, ...others] = await ordersOf(userId);
      expect(others).to.have.length(0);
      expect(await orders.told(order!.orderId)).to.deep.equal(['order.created']);
    }
  });

  it('is placed for each of many sign-ups', async () => {
    await orders.start();
    const signUps = Array.from({ length: 200 }, () => signUpOf());
    await orders.deliver(...signUps);
    for (const { userId } of signUps) expect(await ordersOf(userId)).to.have.length(1);
  });

  it('does not keep the user from placing other orders', async () => {
    await orders.start();
    const userId = await orders.signUp();
    await orders.place(userId, { productName: 'Welcome kit', price: 1 });
    expect(await ordersOf(userId)).to.have.length(2);
  });
});
