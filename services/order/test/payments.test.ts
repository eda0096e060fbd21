import { randomUUID } from 'node:crypto';
import { orderCancelled, orderConfirmed } from '@warren/contracts';
import { parseEvent } from '@warren/events';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import fc from 'fast-check';
import { payment, withOrders } from './support.ts';

type Said = keyof typeof payment;

describe('the payment of an order', () => {
  const orders = withOrders();

  before(() => orders.start());

  it('that was processed makes the order paid, publishes order.confirmed and unschedules the expiry', async () => {
    const order = await orders.newOrder({ price: 42, currency: 'GBP' });
    expect(await orders.dueAt(order.orderId)).to.deep.equal(new Date(Date.parse(order.createdAt) + 900_000));
    const processed = payment.processed(order);
    await orders.deliver(processed);
    expect(await orders.orderOf(order.orderId)).to.deep.equal({ ...order, status: 'paid' });
    expect(await orders.dueAt(order.orderId)).to.equal(undefined);

    expect(await orders.told(order.orderId)).to.deep.equal(['order.created', 'order.confirmed']);
    const [, message] = orders.probe.events.filter(({ body }) => body.subject === order.orderId);
    const event = parseEvent(message!.content, [orderConfirmed]);
    const { status, createdAt, ...facts } = order;
    expect(event.data).to.deep.equal(facts);
    expect(event.correlationid).to.equal(processed.event.correlationid);
  });

  it('that failed cancels the order with the same reason', async () => {
    const order = await orders.newOrder();
    await orders.deliver(payment.failed(order, 'card_stolen'));
    expect(await orders.orderOf(order.orderId)).to.deep.equal({ ...order, status: 'cancelled' });
    expect(await orders.row(order.orderId)).to.include({ reason: 'card_stolen' });
    expect(await orders.dueAt(order.orderId)).to.equal(undefined);

    expect(await orders.told(order.orderId)).to.deep.equal(['order.created', 'order.cancelled']);
    const [, message] = orders.probe.events.filter(({ body }) => body.subject === order.orderId);
    const { status, createdAt, ...facts } = order;
    expect(parseEvent(message!.content, [orderCancelled]).data).to.deep.equal({
      ...facts,
      reason: 'card_stolen',
    });
  });

  /** Two events one after the other: what becomes of the order, and how many of the two are refused, in which status. */
  const pairs: [Said, Said, string, string[]][] = [
    ['processed', 'processed', 'paid', ['paid']],
    ['processed', 'failed', 'paid', ['paid']],
    ['processed', 'refunded', 'paid', ['paid']],
    ['failed', 'processed', 'cancelled', []],
    ['failed', 'failed', 'cancelled', []],
    ['failed', 'refunded', 'cancelled', []],
    ['refunded', 'processed', 'paid', ['pending']],
    ['refunded', 'failed', 'cancelled', ['pending']],
    ['refunded', 'refunded', 'pending', ['pending', 'pending']],
  ];
  for (const [first, second, status, refusals] of pairs)
    it(`${first}, then ${second}, is ${status}`, async () => {
      const counts = () =>
        Promise.all(
          ['pending', 'paid', 'cancelled'].flatMap((each) =>
            ['processed', 'failed', 'refunded'].map((said) => orders.refused(each, `payment.${said}`)),
          ),
        ).then((all) => all.reduce((sum, each) => sum + each, 0));
      const before = await counts();
      const order = await orders.newOrder();
      await orders.deliver(payment[first](order));
      await orders.deliver(payment[second](order));
      expect((await orders.orderOf(order.orderId)).status).to.equal(status);
      const told = { pending: [], paid: ['order.confirmed'], cancelled: ['order.cancelled'] }[status];
      expect(await orders.told(order.orderId)).to.deep.equal(['order.created', ...(told as string[])]);
      expect((await counts()) - before).to.equal(refusals.length);
    });

  it('that the saga refuses is counted by status and event, and not dead-lettered', async () => {
    const order = await orders.newOrder();
    const before = await orders.refused('paid', 'payment.failed');
    await orders.deliver(payment.processed(order));
    await orders.deliver(payment.failed(order));
    expect(await orders.refused('paid', 'payment.failed')).to.equal(before + 1);
    expect(await orders.broker.queueDepth('order.payment.failed.dlq')).to.equal(0);
  });

  const unfit: [string, object][] = [
    ['of less money', { price: 0.01 }],
    ['of more money', { price: 9_999_999.99 }],
    ['in another currency', { currency: 'USD' }],
    ['of another user', { userId: randomUUID() }],
  ];
  for (const [what, change] of unfit)
    for (const said of ['processed', 'failed', 'refunded'] as const)
      it(`${said}, ${what}, changes nothing, and is counted`, async () => {
        const event = `payment.${said}`;
        const [refused, counted] = [await orders.refused('pending', event), await orders.unfit(event)];
        const order = await orders.newOrder({ price: 42 });
        await orders.deliver(payment[said]({ ...order, ...change }));
        expect((await orders.orderOf(order.orderId)).status).to.equal('pending');
        expect(await orders.told(order.orderId)).to.deep.equal(['order.created']);
        expect(await orders.refused('pending', event)).to.equal(refused + 1);
        expect(await orders.unfit(event)).to.equal(counted + 1);
        await orders.deliver(payment.processed(order));
        expect((await orders.orderOf(order.orderId)).status).to.equal('paid');
      });

  it('for an unknown order is counted, and changes nothing', async () => {
    const stranger = { orderId: randomUUID(), userId: randomUUID(), price: 1, currency: 'EUR' as const };
    for (const said of ['processed', 'failed', 'refunded'] as const) {
      const before = await orders.refused('unknown', `payment.${said}`);
      await orders.deliver(payment[said](stranger));
      expect(await orders.refused('unknown', `payment.${said}`)).to.equal(before + 1);
    }
    expect(await orders.told(stranger.orderId)).to.deep.equal([]);
  });

  it('that is delivered 100 times has one effect', async () => {
    const order = await orders.newOrder();
    const processed = payment.processed(order);
    const refused = await orders.refused('paid', 'payment.processed');
    await orders.publish(...Array(100).fill(processed));
    await orders.heard(processed);
    await eventually(async () =>
      expect(await orders.broker.queueDepth('order.payment.processed')).to.equal(0),
    );
    expect(await orders.told(order.orderId)).to.deep.equal(['order.created', 'order.confirmed']);
    expect(await orders.refused('paid', 'payment.processed')).to.equal(refused);
  });

  it('ends the order once with one event, for any payment events in any order, duplicated and concurrent', async function () {
    this.timeout(60_000);
    const said = fc.constantFrom<Said>('processed', 'failed', 'refunded');
    const sequences = fc.sample(fc.array(said, { minLength: 1, maxLength: 6 }), 150);
    const userId = await orders.signUp();
    const cases = await Promise.all(
      sequences.map(async (sequence) => {
        const order = await orders.place(userId);
        const events = sequence.map((each) => payment[each](order));
        return { order, sequence, events: [...events, ...events.slice(0, 2)] };
      }),
    );
    await orders.deliver(...cases.flatMap(({ events }) => events));
    await orders.told(randomUUID());
    for (const { order, sequence } of cases) {
      const possible = [
        ...(sequence.includes('processed') ? ['paid'] : []),
        ...(sequence.includes('failed') ? ['cancelled'] : []),
      ];
      const { status } = await orders.orderOf(order.orderId);
      expect(possible.length === 0 ? ['pending'] : possible, sequence.join()).to.include(status);
      const told = { pending: [], paid: ['order.confirmed'], cancelled: ['order.cancelled'] }[status];
      const types = orders.probe.events
        .filter(({ body }) => body.subject === order.orderId)
        .map(({ body }) => body.type);
      expect(types, sequence.join()).to.deep.equal(['order.created', ...told]);
      expect((await orders.dueAt(order.orderId)) === undefined).to.equal(status !== 'pending');
    }
  });
});
