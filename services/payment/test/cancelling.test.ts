import { paymentProcessed, paymentRefunded } from '@warren/contracts';
import { parseEvent } from '@warren/events';
import { eventually, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { CONCURRENCY } from '../src/workers.ts';
import { balances, booksOf } from './books.ts';
import { orderOf, type TestOrder } from './events.ts';
import { becomes, hurry, replicas, settled } from './running.ts';

describe('payments of cancelled orders', function () {
  this.timeout(60_000);
  const broker = withBroker({ services: ['payment'] });
  const database = withDatabase();
  const { startWith, stopAll } = replicas(broker, database);

  afterEach(stopAll);

  const published = new Set<string>();
  const publish = async (message: ReturnType<TestOrder['created']>) => {
    published.add(message[3].messageId);
    await broker.publish(...message);
  };
  const place = (order: TestOrder) => publish(order.created());
  const cancel = (order: TestOrder, reason?: string) => publish(order.cancelled(reason));
  /** Everything published so far has been handled, and all that it left to do is done. */
  const heard = async () => {
    await eventually(
      async () => {
        const rows = await database.admin<{ message_id: string }>('select message_id from warren.inbox');
        const handled = new Set(rows.map(({ message_id }) => message_id));
        expect([...published].filter((id) => !handled.has(id))).to.have.length(0);
      },
      { timeout: 30_000 },
    );
    await settled(database);
  };
  const begun = (count: number, attempts = 1) =>
    eventually(async () =>
      expect(
        await database.admin(`select 1 from warren.tasks where kind = 'payment.charge' and attempts >= $1`, [
          attempts,
        ]),
      ).to.have.length(count),
    );
  const cancelHeard = (order: TestOrder) =>
    eventually(async () =>
      expect(
        await database.admin('select 1 from payments where order_id = $1 and cancel_reason is not null', [
          order.orderId,
        ]),
      ).to.have.length(1),
    );

  it('are void and never charged when the cancellation comes first', async () => {
    const { http } = await startWith();
    const order = orderOf();
    await cancel(order, 'payment_timeout');
    expect(await becomes(http, order.orderId, 'void')).to.include({
      reason: 'payment_timeout',
      amount: order.price,
    });
    await Promise.all([place(order), place(order), cancel(order, 'another')]);
    await heard();
    expect(await becomes(http, order.orderId, 'void')).to.include({ reason: 'payment_timeout' });
    expect(await booksOf(database, order.orderId)).to.deep.equal([]);
  });

  it('are refunded once when they were charged, with one payment.refunded and the reason', async () => {
    const { http } = await startWith();
    const probe = await broker.probe('events', 'payment.#');
    const order = orderOf({ price: 250.5, currency: 'GBP' });
    await place(order);
    const { id } = await becomes(http, order.orderId, 'processed');
    await Promise.all(Array.from({ length: 10 }, () => cancel(order, 'changed my mind')));
    expect(await becomes(http, order.orderId, 'refunded')).to.include({ id, reason: 'changed my mind' });
    await heard();
    expect(await booksOf(database, order.orderId)).to.deep.equal([
      { kind: 'charge', outcome: 'accepted', reason: null, amount: 250_50, currency: 'GBP', requests: 1 },
      { kind: 'refund', outcome: 'accepted', reason: null, amount: 250_50, currency: 'GBP', requests: 1 },
    ]);
    const facts = {
      paymentId: id,
      orderId: order.orderId,
      userId: order.userId,
      amount: 250.5,
      currency: 'GBP',
    };
    await probe.waitFor({ type: 'payment.refunded' });
    const [processed, refunded, ...more] = probe.events.filter(({ content }) =>
      content.includes(order.orderId),
    );
    expect(parseEvent(processed!.content, [paymentProcessed]).data).to.deep.equal(facts);
    expect(parseEvent(refunded!.content, [paymentRefunded]).data).to.deep.equal({
      ...facts,
      reason: 'changed my mind',
    });
    expect(more).to.have.length(0);
  });

  it('are refunded after the charge in flight has ended', async () => {
    const { http } = await startWith({ PROVIDER_LATENCY: '1500ms' });
    const order = orderOf();
    await place(order);
    await begun(1);
    await cancel(order);
    await cancelHeard(order);
    expect(await becomes(http, order.orderId, 'pending')).not.to.have.property('reason');
    await becomes(http, order.orderId, 'refunded');
    await settled(database);
    expect((await balances(database)).get(order.orderId)).to.deep.equal({
      balance: 0,
      charges: 1,
      refunds: 1,
    });
  });

  it('are refunded after a charge with an unknown outcome has ended', async () => {
    await startWith({ PROVIDER_TIMEOUT_RATE: '1' });
    const order = orderOf();
    await place(order);
    await begun(1, 2);
    await cancel(order);
    await cancelHeard(order);
    await stopAll();
    const { http } = await startWith();
    await hurry(database);
    await becomes(http, order.orderId, 'refunded');
    await settled(database);
    expect((await balances(database)).get(order.orderId)).to.deep.equal({
      balance: 0,
      charges: 1,
      refunds: 1,
    });
  });

  it('stay failed when they have failed: there is nothing to refund', async () => {
    const { http } = await startWith();
    const order = orderOf({ price: 1000.01 });
    await place(order);
    await becomes(http, order.orderId, 'failed');
    await cancel(order, 'limit_exceeded');
    await heard();
    expect(await becomes(http, order.orderId, 'failed')).to.include({ reason: 'limit_exceeded' });
    expect((await balances(database)).has(order.orderId)).to.equal(false);
  });

  it('are void when no worker has started the charge', async () => {
    const { http } = await startWith({ PROVIDER_LATENCY: '2s' });
    const [waiting, ...busy] = Array.from({ length: CONCURRENCY + 1 }, () => orderOf());
    await Promise.all(busy.map(place));
    await begun(CONCURRENCY);
    await place(waiting!);
    await becomes(http, waiting!.orderId, 'pending');
    await cancel(waiting!, 'payment_timeout');
    expect(await becomes(http, waiting!.orderId, 'void')).to.include({ reason: 'payment_timeout' });
    await heard();
    for (const { orderId } of busy) await becomes(http, orderId, 'processed');
    expect(await booksOf(database, waiting!.orderId)).to.deep.equal([]);
  });

  it('are refunded once with a provider that fails often', async () => {
    await startWith({ PROVIDER_FAILURE_RATE: '0.3', PROVIDER_TIMEOUT_RATE: '0.4' });
    const orders = Array.from({ length: 15 }, () => orderOf());
    await Promise.all(orders.map(place));
    const become = (status: string) =>
      eventually(
        async () => {
          await hurry(database);
          const rows = await database.admin(
            'select 1 from payments where status = $1 and order_id = any($2)',
            [status, orders.map(({ orderId }) => orderId)],
          );
          expect(rows).to.have.length(orders.length);
        },
        { timeout: 30_000, interval: 100 },
      );
    await become('processed');
    await Promise.all(orders.flatMap((order) => [cancel(order), cancel(order)]));
    await become('refunded');
    const books = await balances(database);
    for (const { orderId } of orders)
      expect(books.get(orderId)).to.deep.equal({ balance: 0, charges: 1, refunds: 1 });
  });

  it('keep no money of cancelled orders and all of the others, in any order of events, with two replicas', async () => {
    const [{ http }] = [
      await startWith({ PROVIDER_LATENCY: '5ms' }),
      await startWith({ PROVIDER_LATENCY: '5ms' }),
    ];
    const probe = await broker.probe('events', 'payment.#');
    const orders = Array.from({ length: 400 }, (_, n) => ({
      order: orderOf(),
      cancelled: n % 4 !== 0,
      first: n % 4 === 1,
    }));
    await Promise.all(
      orders.map(async ({ order, cancelled, first }, n) => {
        const messages = cancelled ? [order.created(), order.cancelled()] : [order.created()];
        if (first) messages.reverse();
        // Confirmed one after the other, or all at once.
        if (n % 3 === 0) await Promise.all([...messages, ...messages].map((message) => publish(message)));
        else for (const message of messages) await publish(message);
      }),
    );
    await heard();
    const books = await balances(database);
    const counts: Record<string, number> = {};
    for (const { order, cancelled } of orders) {
      const [{ status }] = (await http.get(`/payments?orderId=${order.orderId}`)).body.items;
      counts[status] = (counts[status] ?? 0) + 1;
      expect(status).to.be.oneOf(cancelled ? ['void', 'refunded'] : ['processed']);
      expect(books.get(order.orderId) ?? { balance: 0, charges: 0, refunds: 0 }).to.deep.equal(
        {
          processed: { balance: 19_99, charges: 1, refunds: 0 },
          refunded: { balance: 0, charges: 1, refunds: 1 },
          void: { balance: 0, charges: 0, refunds: 0 },
        }[status as string],
      );
    }
    console.log(`        ${JSON.stringify(counts)}`);
    await eventually(async () => {
      const told = new Map<string, string[]>();
      for (const { body } of probe.events)
        told.set(body.data.orderId, [...(told.get(body.data.orderId) ?? []), body.type]);
      for (const { order } of orders) {
        const { status } = (await http.get(`/payments?orderId=${order.orderId}`)).body.items[0];
        expect(told.get(order.orderId) ?? []).to.deep.equal(
          {
            processed: ['payment.processed'],
            refunded: ['payment.processed', 'payment.refunded'],
            void: [],
          }[status as string],
        );
      }
    });
  });
});
