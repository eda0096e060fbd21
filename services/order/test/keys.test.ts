import { randomUUID } from 'node:crypto';
import { type Order, paymentFailed, paymentProcessed, paymentRefunded, userCreated } from '@warren/contracts';
import { eventually, message, withKeys } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';
import { payment, withOrders } from './support.ts';

const signedUp = (userId: string = randomUUID()) =>
  message(userCreated, { userId, name: 'Ada Lovelace', email: 'ada@example.com' }, { subject: userId });

/** Of any order there may be several payments, as far as this service knows. */
function paymentOf({ orderId, userId, price: amount, currency }: Order) {
  const paymentId = randomUUID();
  const facts = { paymentId, orderId, userId, amount, currency };
  return {
    processed: message(paymentProcessed, facts, { subject: paymentId }),
    failed: message(paymentFailed, { ...facts, reason: 'limit_exceeded' }, { subject: paymentId }),
    refunded: message(paymentRefunded, { ...facts, reason: 'payment_timeout' }, { subject: paymentId }),
  };
}

describe('the keys of the order service', function () {
  this.timeout(60_000);
  const orders = withOrders();
  const keys = withKeys({ service, ...orders });

  before(() => orders.start());

  const ofOneUser = async () => {
    const userId = await orders.signUp();
    return [await orders.place(userId), await orders.place(userId)] as const;
  };
  const pays = ['processed', 'failed', 'refunded'] as const;

  for (const one of pays)
    for (const other of pays) {
      keys.itKeepsApart(`payments of two orders of one user, ${one} and ${other},`, async () => {
        const [first, second] = await ofOneUser();
        return [paymentOf(first)[one], paymentOf(second)[other]];
      });
      keys.itOrders(`two payments of one order, ${one} and ${other},`, async () => {
        const order = await orders.newOrder();
        return [paymentOf(order)[one], paymentOf(order)[other]];
      });
    }

  keys.itKeepsApart('sign-ups of two users', () => [signedUp(), signedUp()]);
  keys.itKeepsApart('a payment and a sign-up that is repeated under another id', async () => {
    const order = await orders.newOrder();
    return [paymentOf(order).processed, signedUp(order.userId)];
  });
  keys.itKeepsApart('a sign-up that is repeated under another id and a payment', async () => {
    const order = await orders.newOrder();
    return [signedUp(order.userId), paymentOf(order).processed];
  });
  keys.itOrders('two sign-ups of one user', () => {
    const userId = randomUUID();
    return [signedUp(userId), signedUp(userId)];
  });
});

describe('payments that arrive in one batch', function () {
  this.timeout(60_000);
  const QUEUE = 'order.payment.processed';
  const orders = withOrders();

  after(() => orders.stopAll());

  it('confirm their order once, if two are for the same order', async () => {
    await orders.start();
    const userId = await orders.signUp();
    const placed = await Promise.all(Array.from({ length: 10 }, () => orders.place(userId)));
    await orders.stopAll();
    const events = placed.flatMap((order) => [payment.processed(order), payment.processed(order)]);
    await orders.publish(...events);
    await eventually(async () => expect(await orders.broker.queueDepth(QUEUE)).to.equal(events.length));
    await orders.start();
    await orders.heard(...events);

    const [{ transactions } = { transactions: 0 }] = await orders.database.admin<{ transactions: number }>(
      'select count(distinct xmin::text)::int as transactions from warren.inbox where message_id = any ($1)',
      [events.map(({ id }) => id)],
    );
    expect(transactions, 'they came together').to.be.below(placed.length);
    await orders.told(placed[0]?.orderId as string);
    for (const { orderId } of placed) {
      const types = orders.probe.events.filter(({ body }) => body.subject === orderId);
      expect(types.map(({ body }) => body.type)).to.deep.equal(['order.created', 'order.confirmed']);
    }
    expect(await orders.refused('paid', 'payment.processed')).to.equal(placed.length);
  });
});
