import { orderCancelled, parseEvent } from '@warren/contracts';
import { client, eventually } from '@warren/testkit';
import { expect } from 'chai';
import { payment, withOrders } from './support.ts';

describe('an order that nobody pays', () => {
  const orders = withOrders();
  const cancelled = (orderId: string) =>
    eventually(async () => expect((await orders.orderOf(orderId)).status).to.equal('cancelled'));

  afterEach(() => orders.stopAll());

  it('is cancelled PAYMENT_TIMEOUT after it was placed, and not before', async () => {
    await orders.start({ PAYMENT_TIMEOUT: '1500ms' });
    const order = await orders.newOrder();
    await cancelled(order.orderId);
    expect(await orders.row(order.orderId)).to.include({ reason: 'payment_timeout' });
    expect(await orders.told(order.orderId)).to.deep.equal(['order.created', 'order.cancelled']);
    const [, message] = orders.probe.events.filter(({ body }) => body.subject === order.orderId);
    const event = parseEvent(message!.content, [orderCancelled]);
    expect(event.data).to.deep.include({ orderId: order.orderId, reason: 'payment_timeout' });
    expect(Date.parse(event.time) - Date.parse(order.createdAt)).to.be.at.least(1500);
    expect(await orders.dueAt(order.orderId)).to.equal(undefined);
  });

  for (const said of ['processed', 'failed', 'refunded'] as const)
    it(`stays cancelled when its payment is ${said} after that, and nothing of it is refused`, async () => {
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
    it(`is ${status} when its payment is ${said} just before, though a worker comes for it`, async () => {
      await orders.start();
      const order = await orders.newOrder();
      const [task] = await orders.database.admin(`select * from warren.tasks where key = $1`, [
        order.orderId,
      ]);
      await orders.deliver(payment[said](order, 'declined'));
      // As if the worker had claimed it before the payment came: it comes back to an order that is settled.
      await orders.stopAll();
      await orders.database.admin(
        `insert into warren.tasks (kind, key, due_at, correlation_id) values ($1, $2, now(), 'test')`,
        [task!.kind, task!.key],
      );
      await orders.start({ PAYMENT_TIMEOUT: '1ms' });
      await eventually(async () => expect(await orders.dueAt(order.orderId)).to.equal(undefined));
      expect((await orders.orderOf(order.orderId)).status).to.equal(status);
      expect(await orders.refused(status, 'timeout')).to.equal(0);
      const ending = { paid: 'order.confirmed', cancelled: 'order.cancelled' }[status];
      expect(await orders.told(order.orderId)).to.deep.equal(['order.created', ending]);
    });

  it('ends one way, and tells of it once, when payments come at the very moment it is due', async function () {
    this.timeout(60_000);
    await orders.start({ PAYMENT_TIMEOUT: '2s' });
    await orders.start({ PAYMENT_TIMEOUT: '2s' });
    const userId = await orders.signUp();
    const placed = await Promise.all(Array.from({ length: 120 }, () => orders.place(userId)));
    // The replicas have known their broker for long enough to cancel.
    const first = await orders.newOrder();
    await cancelled(first.orderId);

    const later = await Promise.all(Array.from({ length: 120 }, () => orders.place(userId)));
    const events = later.map((order) => payment.processed(order));
    const [{ due }] = (await orders.database.admin(
      `select min(due_at) - clock_timestamp() < interval '20 ms' as due from warren.tasks where key = any ($1)`,
      [later.map(({ orderId }) => orderId)],
    )) as [{ due: boolean }];
    expect(due).to.equal(false);
    await eventually(
      async () => {
        const [row] = await orders.database.admin<{ due: boolean }>(
          `select min(due_at) - clock_timestamp() < interval '20 ms' as due from warren.tasks where key = any ($1)`,
          [later.map(({ orderId }) => orderId)],
        );
        return row!.due;
      },
      { interval: 5 },
    );
    await orders.deliver(...events);
    await eventually(async () => {
      for (const { orderId } of [...placed, ...later])
        expect((await orders.row(orderId))?.status).not.to.equal('pending');
    });
    await orders.told(first.orderId);
    const ends = new Set<string>();
    for (const { orderId } of later) {
      const { status } = (await orders.row(orderId))!;
      ends.add(status);
      const types = orders.probe.events
        .filter(({ body }) => body.subject === orderId)
        .map(({ body }) => body.type);
      expect(types).to.deep.equal([
        'order.created',
        status === 'paid' ? 'order.confirmed' : 'order.cancelled',
      ]);
    }
    expect([...ends]).to.include('paid');
    for (const event of ['payment.processed', 'timeout'])
      for (const status of ['paid', 'cancelled', 'unknown'])
        expect(await orders.refused(status, event)).to.equal(0);
  });

  it('is cancelled by a service that was away when its time came', async () => {
    await orders.start({ PAYMENT_TIMEOUT: '1s' });
    const order = await orders.newOrder();
    await orders.stopAll();
    await orders.start({ PAYMENT_TIMEOUT: '1s' });
    await cancelled(order.orderId);
  });
});

describe('an order that nobody can pay because the broker is away', () => {
  const orders = withOrders({ private: true });
  const TIMEOUT = 1_500;

  it('waits until the broker has been back for PAYMENT_TIMEOUT', async function () {
    this.timeout(90_000);
    const running = await orders.start({ PAYMENT_TIMEOUT: `${TIMEOUT}ms` });
    const isConnected = async () => {
      const { body } = await client(running.adminUrl).get('/readyz');
      return body.broker === 'connected';
    };
    const userId = await orders.signUp();
    await orders.broker.stop();
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
    await orders.broker.start();
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
