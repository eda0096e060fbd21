import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { paymentFailed, paymentProcessed } from '@warren/contracts';
import { parseEvent } from '@warren/events';
import { client, eventually, freePorts, startProcess, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { balances, booksOf } from './books.ts';
import { orderOf, type TestOrder } from './events.ts';
import { becomes, environment, hurry, replicas, settled } from './running.ts';

describe('charging orders', function () {
  this.timeout(120_000);
  const broker = withBroker({ services: ['payment'] });
  const database = withDatabase();
  const { startWith, stopAll } = replicas(broker, database);

  afterEach(stopAll);

  const place = (order: TestOrder) => broker.publish(...order.created());
  const placeMany = async (count: number, given = {}) => {
    const orders = Array.from({ length: count }, () => orderOf(given));
    await Promise.all(orders.map(place));
    return orders;
  };
  const becomeProcessed = (orders: TestOrder[]) =>
    eventually(
      async () => {
        const [row] = await database.admin<{ n: number }>(
          `select count(*)::int as n from payments where status = 'processed' and order_id = any($1)`,
          [orders.map(({ orderId }) => orderId)],
        );
        expect(row!.n).to.equal(orders.length);
      },
      { timeout: 60_000 },
    );
  /** Each order has one payment, processed, and its money was taken once. */
  const chargedOnce = async (orders: TestOrder[]) => {
    const books = await balances(database);
    const rows = await database.admin<{ order_id: string; status: string }>(
      'select order_id, status from payments where order_id = any($1)',
      [orders.map(({ orderId }) => orderId)],
    );
    expect(rows).to.have.length(orders.length);
    for (const { status } of rows) expect(status).to.equal('processed');
    for (const { orderId, price } of orders)
      expect(books.get(orderId)).to.deep.equal({ balance: Math.round(price * 100), charges: 1, refunds: 0 });
  };

  it('charges an order, and publishes payment.processed once', async () => {
    const { http } = await startWith();
    const probe = await broker.probe('events', 'payment.#');
    const order = orderOf({ price: 0.29, currency: 'USD' });
    await place(order);
    const payment = await becomes(http, order.orderId, 'processed');
    expect(payment).to.deep.include({
      orderId: order.orderId,
      userId: order.userId,
      amount: 0.29,
      currency: 'USD',
      status: 'processed',
    });
    expect(payment).to.have.all.keys('id', 'orderId', 'userId', 'amount', 'currency', 'status', 'createdAt');
    expect((await http.get(`/payments/${payment.id}`)).body).to.deep.equal(payment);
    const [message] = await probe.waitFor(({ content }) => content.includes(order.orderId));
    const event = parseEvent(message!.content, [paymentProcessed]);
    expect(event.data).to.deep.equal({
      paymentId: payment.id,
      orderId: order.orderId,
      userId: order.userId,
      amount: 0.29,
      currency: 'USD',
    });
    expect(event).to.include({
      source: '/payment',
      subject: payment.id,
      correlationid: `correlation-${order.orderId}`,
    });
    expect(await booksOf(database, order.orderId)).to.deep.equal([
      { kind: 'charge', outcome: 'accepted', reason: null, amount: 29, currency: 'USD', requests: 1 },
    ]);
  });

  it('declines a charge above the limit, with the reason', async () => {
    const { http } = await startWith({ PAYMENT_LIMIT: '99.99' });
    const probe = await broker.probe('events', 'payment.#');
    const [affordable, dear] = [orderOf({ price: 99.99 }), orderOf({ price: 100 })];
    await Promise.all([affordable, dear].map(place));
    await becomes(http, affordable.orderId, 'processed');
    const payment = await becomes(http, dear.orderId, 'failed');
    expect(payment).to.include({ reason: 'limit_exceeded', amount: 100 });
    const [message] = await probe.waitFor(({ content }) => content.includes(dear.orderId));
    expect(parseEvent(message!.content, [paymentFailed]).data).to.deep.equal({
      paymentId: payment.id,
      orderId: dear.orderId,
      userId: dear.userId,
      amount: 100,
      currency: 'EUR',
      reason: 'limit_exceeded',
    });
    expect((await balances(database)).has(dear.orderId)).to.equal(false);
  });

  it('charges once for many deliveries of one order, by one event or several', async () => {
    const { http } = await startWith();
    const probe = await broker.probe('events', 'payment.#');
    const order = orderOf();
    const id = randomUUID();
    await Promise.all([
      ...Array.from({ length: 100 }, () => broker.publish(...order.created(id))),
      ...Array.from({ length: 20 }, () => broker.publish(...order.created())),
    ]);
    const last = orderOf();
    await place(last);
    await becomes(http, last.orderId, 'processed');
    await eventually(async () =>
      expect(
        await database.admin(`select 1 from warren.inbox where consumer = 'payment.order.created'`),
      ).to.have.length.at.least(22),
    );
    await settled(database);
    await chargedOnce([order, last]);
    await probe.waitFor(({ content }) => content.includes(last.orderId));
    expect(probe.events.filter(({ content }) => content.includes(order.orderId))).to.have.length(1);
  });

  it('retries with the same key when the provider does not respond, and charges once', async () => {
    const { http } = await startWith({ PROVIDER_TIMEOUT_RATE: '1' });
    const orders = await placeMany(20);
    const attempted = () =>
      database.admin<{ attempts: number; last_error: string }>(
        'select attempts, last_error from warren.tasks where last_error is not null',
      );
    await eventually(async () => expect(await attempted()).to.have.length(20));
    for (const { last_error } of await attempted()) expect(last_error).to.contain('did not respond');
    const books = await balances(database);
    const taken = orders.filter(({ orderId }) => books.has(orderId));
    expect(taken.length, 'some were taken, nobody knows which').to.be.within(1, 19);
    for (const { orderId } of orders)
      expect((await http.get(`/payments?orderId=${orderId}`)).body.items[0].status).to.equal('pending');

    await stopAll();
    await startWith();
    await hurry(database);
    await settled(database);
    await chargedOnce(orders);
    for (const { orderId } of taken)
      expect((await booksOf(database, orderId))[0]!.requests).to.be.at.least(2);
  });

  it('charges every order eventually with a provider that fails often', async () => {
    await startWith({ PROVIDER_FAILURE_RATE: '0.3', PROVIDER_TIMEOUT_RATE: '0.3' });
    const orders = await placeMany(40);
    await eventually(
      async () => {
        await hurry(database);
        expect(
          await database.admin(`select 1 from payments where status = 'processed'`),
        ).to.have.length.at.least(40);
        await chargedOnce(orders);
      },
      { timeout: 60_000, interval: 200 },
    );
  });

  it('charges once when the process is killed during the charge', async () => {
    const [PORT, ADMIN_PORT] = await freePorts(2);
    const killed = () =>
      startProcess({
        cwd: fileURLToPath(new URL('..', import.meta.url)),
        env: {
          ...environment(broker, database),
          PORT,
          ADMIN_PORT,
          PROVIDER_LATENCY: '50ms',
          PROVIDER_TIMEOUT_RATE: '0.5',
        },
      });
    const orders: TestOrder[] = [];
    for (let kills = 1; kills <= 3; kills += 1) {
      const process = killed();
      await process.ready();
      const before = (await balances(database)).size;
      orders.push(...(await placeMany(60)));
      await eventually(async () => expect((await balances(database)).size).to.be.at.least(before + 12), {
        interval: 5,
      });
      await process.kill('SIGKILL');
      const [{ begun }] = (await database.admin<{ begun: number }>(
        'select count(*)::int as begun from warren.tasks where attempts > 0',
      )) as [{ begun: number }];
      expect(begun, 'charges begun and not settled').to.be.at.least(1);
      await hurry(database);
    }
    await startWith();
    await eventually(
      async () => {
        await hurry(database);
        await chargedOnce(orders);
      },
      { timeout: 60_000, interval: 500 },
    );
    await settled(database);
    const requests = await database.admin<{ n: number }>(
      'select sum(requests)::int as n from simulator.books where reference = any($1)',
      [orders.map(({ orderId }) => orderId)],
    );
    expect(requests[0]!.n, 'requests: some charges were repeated').to.be.above(orders.length);
  });

  it('charges once, with any number of replicas', async () => {
    await Promise.all([startWith(), startWith()]);
    const probe = await broker.probe('events', 'payment.processed.#');
    const orders = await placeMany(300);
    await Promise.all(orders.map(place));
    await becomeProcessed(orders);
    await settled(database);
    await chargedOnce(orders);
    for (const { orderId } of orders) expect((await booksOf(database, orderId))[0]!.requests).to.equal(1);
    await probe.waitFor({ type: 'payment.processed', count: 300 });
    expect(new Set(probe.events.map(({ body }) => body.data.orderId)).size).to.equal(probe.events.length);
  });

  it('charges 500 orders at the default latency of the provider within seconds', async () => {
    await startWith({ PROVIDER_LATENCY: '' });
    const began = performance.now();
    const orders = await placeMany(500);
    await becomeProcessed(orders);
    const seconds = (performance.now() - began) / 1_000;
    console.log(`        500 charges in ${seconds.toFixed(1)} s`);
    expect(seconds).to.be.below(30);
    await chargedOnce(orders);
  });

  it('dead-letters an invalid message with the reason, and handles the next', async () => {
    const { http } = await startWith();
    const order = orderOf();
    const [exchange, key, , properties] = order.created();
    const wrong = Buffer.from(JSON.stringify({ orderId: order.orderId }));
    await broker.publish(exchange, key, wrong, { ...properties, messageId: randomUUID() });
    await place(order);
    await becomes(http, order.orderId, 'processed');
    const dead = await eventually(async () => (await broker.get('payment.order.created.dlq'))[0] ?? false);
    expect(dead.content.equals(wrong)).to.equal(true);
    expect(dead.properties.headers).to.have.property('x-warren-reason');
  });

  it('exposes the number of pending charges', async () => {
    const { service } = await startWith({ PROVIDER_FAILURE_RATE: '1' });
    await place(orderOf());
    await eventually(async () => {
      await hurry(database);
      const { text } = await client(service.adminUrl).get('/metrics');
      expect(text).to.match(/tasks_pending\{[^}]*kind="payment.charge"[^}]*\} \d+/);
      expect(text).to.match(
        /events_consumed_total\{(?=[^}]*queue="payment.order.created")(?=[^}]*outcome="handled")/,
      );
    });
  });
});
