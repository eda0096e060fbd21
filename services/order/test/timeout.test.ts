import { orderCancelled } from '@warren/contracts';
import { parseEvent } from '@warren/events';
import { client, eventually, openProxy, type TcpProxy } from '@warren/testkit';
import { expect } from 'chai';
import { payment, withOrders } from './support.ts';

describe('an unpaid order', () => {
  const orders = withOrders();
  const cancelled = (orderId: string) =>
    eventually(async () => expect((await orders.orderOf(orderId)).status).to.equal('cancelled'));

  afterEach(() => orders.stopAll());

  it('is cancelled PAYMENT_TIMEOUT after it was placed, and not before', async () => {
    await orders.start({ PAYMENT_TIMEOUT: '500ms' });
    const order = await orders.newOrder();
    await cancelled(order.orderId);
    expect(await orders.row(order.orderId)).to.include({ reason: 'payment_timeout' });
    expect(await orders.told(order.orderId)).to.deep.equal(['order.created', 'order.cancelled']);
    const [, message] = orders.probe.events.filter(({ body }) => body.subject === order.orderId);
    const event = parseEvent(message!.content, [orderCancelled]);
    expect(event.data).to.deep.include({ orderId: order.orderId, reason: 'payment_timeout' });
    expect(Date.parse(event.time) - Date.parse(order.createdAt)).to.be.at.least(500);
    expect(await orders.dueAt(order.orderId)).to.equal(undefined);
  });

  for (const said of ['processed', 'failed', 'refunded'] as const)
    it(`stays cancelled when its payment is ${said} later, and the saga refuses nothing`, async () => {
      await orders.start({ PAYMENT_TIMEOUT: '300ms' });
      const order = await orders.newOrder();
      await cancelled(order.orderId);
      await orders.deliver(payment[said](order));
      expect((await orders.orderOf(order.orderId)).status).to.equal('cancelled');
      expect(await orders.row(order.orderId)).to.include({ reason: 'payment_timeout' });
      expect(await orders.told(order.orderId)).to.deep.equal(['order.created', 'order.cancelled']);
      expect(await orders.refused('cancelled', `payment.${said}`)).to.equal(0);
    });

  for (const [said, status] of [
    ['processed', 'paid'],
    ['failed', 'cancelled'],
  ] as const)
    it(`is ${status} when its payment was ${said} just before the expiry`, async () => {
      await orders.start();
      const order = await orders.newOrder();
      await orders.deliver(payment[said](order, 'declined'));
      await orders.stopAll();
      await orders.start({ PAYMENT_TIMEOUT: '1ms' });
      await cancelled((await orders.newOrder()).orderId);
      // What a worker has in hand is not taken back by the payment.
      await orders.database.admin(
        `insert into warren.tasks (kind, key, correlation_id) values ('order.expire', $1, 'test')`,
        [order.orderId],
      );
      await eventually(async () => expect(await orders.dueAt(order.orderId)).to.equal(undefined));
      expect((await orders.orderOf(order.orderId)).status).to.equal(status);
      expect(await orders.refused(status, 'timeout')).to.equal(0);
      const ending = { paid: 'order.confirmed', cancelled: 'order.cancelled' }[status];
      expect(await orders.told(order.orderId)).to.deep.equal(['order.created', ending]);
    });

  it('ends once with one event, when payments and expiries run concurrently', async function () {
    this.timeout(60_000);
    await orders.start({ PAYMENT_TIMEOUT: '1s' });
    await orders.start({ PAYMENT_TIMEOUT: '1s' });
    const userId = await orders.signUp();
    const placed = await Promise.all(Array.from({ length: 200 }, () => orders.place(userId)));
    const ids = placed.map(({ orderId }) => orderId);
    // By now the replicas have known their broker for long enough to cancel; all the orders are due at once.
    const early = await orders.newOrder();
    await cancelled(early.orderId);
    const statuses = () =>
      orders.database.admin<{ id: string; status: 'pending' | 'paid' | 'cancelled' }>(
        'select id, status from orders where id = any ($1)',
        [ids],
      );
    await eventually(async () => {
      for (const { status } of await statuses()) expect(status).to.equal('cancelled');
    });

    const later = await Promise.all(Array.from({ length: 200 }, () => orders.place(userId)));
    ids.splice(0, ids.length, ...later.map(({ orderId }) => orderId));
    // Their time is up one after the other, the oldest first; the payments begin with the youngest: they meet.
    await orders.database.admin(
      `update warren.tasks set due_at = now() + n * interval '50 ms'
       from (select id, row_number() over (order by id) as n from warren.tasks where key = any ($1)) as ordered
       where tasks.id = ordered.id`,
      [ids],
    );
    await eventually(
      async () => expect((await statuses()).map(({ status }) => status)).to.include('cancelled'),
      { interval: 1 },
    );
    await orders.deliver(...later.toReversed().map((order) => payment.processed(order)));

    await orders.told(early.orderId);
    const ends = await statuses();
    expect(new Set(ends.map(({ status }) => status))).to.deep.equal(new Set(['paid', 'cancelled']));
    for (const { id, status } of ends) {
      const ending = { pending: [], paid: ['order.confirmed'], cancelled: ['order.cancelled'] }[status];
      const types = orders.probe.events
        .filter(({ body }) => body.subject === id)
        .map(({ body }) => body.type);
      expect(types).to.deep.equal(['order.created', ...ending]);
    }
    for (const event of ['payment.processed', 'timeout'])
      for (const status of ['pending', 'paid', 'cancelled', 'unknown'])
        expect(await orders.refused(status, event)).to.equal(0);
  });

  it('is cancelled later by a service that was down at the timeout', async () => {
    await orders.start({ PAYMENT_TIMEOUT: '1s' });
    const order = await orders.newOrder();
    await orders.stopAll();
    await orders.start({ PAYMENT_TIMEOUT: '1s' });
    await cancelled(order.orderId);
  });
});

describe('an order that cannot be paid because the broker is unavailable', () => {
  const orders = withOrders();
  const TIMEOUT = 1_500;
  let line: TcpProxy;

  before(async () => {
    line = await openProxy(orders.broker.url('order'));
  });
  after(async () => {
    await orders.stopAll();
    await line.close();
  });

  it('is not cancelled until PAYMENT_TIMEOUT after the broker has recovered', async function () {
    this.timeout(90_000);
    const running = await orders.start({ AMQP_URL: line.url, PAYMENT_TIMEOUT: `${TIMEOUT}ms` });
    const isConnected = async () => {
      const { body } = await client(running.adminUrl).get('/readyz');
      return body.broker === 'connected';
    };
    const userId = await orders.signUp();
    line.refuse(true);
    await eventually(async () => !(await isConnected()));

    const unpaid = await orders.place(userId);
    const paid = await orders.place(userId);
    // Looked at twice and more, and put off each time.
    for (const { orderId, createdAt } of [unpaid, paid])
      await eventually(async () => {
        const due = (await orders.dueAt(orderId)) as Date;
        expect(due.getTime()).to.be.above(Date.parse(createdAt) + 2 * TIMEOUT);
        expect((await orders.row(orderId))?.status).to.equal('pending');
      });

    const before = Date.now();
    line.refuse(false);
    await eventually(isConnected, { timeout: 30_000 });
    await orders.deliver(payment.processed(paid));
    expect((await orders.orderOf(paid.orderId)).status).to.equal('paid');

    await eventually(
      async () => expect((await orders.orderOf(unpaid.orderId)).status).to.equal('cancelled'),
      { timeout: 20_000 },
    );
    expect(Date.now() - before).to.be.at.least(TIMEOUT);
    expect((await orders.orderOf(paid.orderId)).status).to.equal('paid');
  });
});
