import { expect } from 'chai';
import { PAYMENT_LIMIT, type Placed } from '../business.ts';
import {
  type Auditor,
  correlations,
  count,
  type Order,
  ordersOf,
  type Payment,
  paymentsOf,
  tasks,
  userIds,
} from './auditor.ts';
import { differences, none, told } from './differences.ts';

/** One welcome order for each user, and those that were placed; all of them paid or cancelled. */
export const order: Auditor = {
  async settled(system) {
    expect(await count(system, 'order', 'orders'), 'orders').to.be.at.least(
      system.ledger.length + system.orders.length,
    );
    expect(await count(system, 'order', "orders where status = 'pending'"), 'pending orders').to.equal(0);
  },

  async check(system, { asPriced }) {
    const orders = await ordersOf(system);
    expect(
      differences(
        orders.filter(({ welcome }) => welcome).map(({ user_id }) => user_id),
        userIds(system),
      ),
      'welcome orders, by user',
    ).to.deep.equal(none);
    expect(
      differences(orders.filter(({ welcome }) => !welcome).map(contentOf), wanted(system.orders)),
      'orders',
    ).to.deep.equal(none);
    const wrong = orders.filter(({ price, status, reason }) =>
      asPriced
        ? `${status} ${reason}` !== (price > PAYMENT_LIMIT * 100 ? 'cancelled limit_exceeded' : 'paid null')
        : status === 'pending',
    );
    expect(
      told(wrong.map((each) => `${contentOf(each)}: ${each.status} ${each.reason}`)),
      'orders that did not end as they should',
    ).to.deep.equal([]);
    expect(await tasks(system, 'order'), 'tasks of order').to.deep.equal({});

    const { ofOrder } = correlations(system, orders);
    return orders.flatMap(({ id, status }) =>
      ['order.created', status === 'paid' ? 'order.confirmed' : 'order.cancelled'].map((type) => ({
        type,
        about: id,
        correlationIds: [ofOrder(id)],
      })),
    );
  },
};

const contentOf = (row: Pick<Order, 'id' | 'user_id' | 'product_name' | 'price' | 'currency'>): string =>
  `${row.id} of ${row.user_id}: ${row.product_name}, ${row.price} ${row.currency}`;

const wanted = (orders: readonly Placed[]): string[] =>
  orders.map(({ order: answer, content }) =>
    contentOf({
      id: content.orderId ?? (answer?.orderId as string),
      user_id: content.userId,
      product_name: content.productName,
      price: Math.round(content.price * 100),
      currency: content.currency ?? 'EUR',
    }),
  );

/** Of each order one payment, that fits its end; and the money of the paid orders, and no other, with the provider. */
export const payment: Auditor = {
  async settled(system) {
    expect(await tasks(system, 'payment'), 'tasks of payment').to.deep.equal({});
    const [orders, payments] = [await ordersOf(system), await paymentsOf(system)];
    expect(payments.length, 'payments').to.be.at.least(orders.length);
    expect(told(unfitting(orders, payments)), 'payments that do not fit their orders').to.deep.equal([]);
  },

  async check(system) {
    const orders = await ordersOf(system);
    const payments = await paymentsOf(system);
    const bill = (id: string, of: { user_id: string; currency: string }, cents: number) =>
      `${id} of ${of.user_id}: ${cents} ${of.currency}`;
    expect(
      differences(
        payments.map((each) => bill(each.order_id, each, each.amount)),
        orders.map((each) => bill(each.id, each, each.price)),
      ),
      'payments, by order',
    ).to.deep.equal(none);
    expect(told(unfitting(orders, payments)), 'payments that do not fit their orders').to.deep.equal([]);

    const books = await system.sql<{ entry: string }>(
      'payment',
      `select kind || ' ' || amount || ' ' || currency || ' for ' || reference as entry
       from simulator.books where outcome = 'accepted'`,
    );
    const moved = payments.flatMap(({ order_id, amount, currency, status }) => {
      const money = `${amount} ${currency} for ${order_id}`;
      return (movements[status] ?? []).map((kind) => `${kind} ${money}`);
    });
    expect(
      differences(
        books.map(({ entry }) => entry),
        moved,
      ),
      'money that was taken and refunded',
    ).to.deep.equal(none);

    const { ofOrder } = correlations(system, orders);
    return payments.flatMap(({ id, order_id, status }) =>
      tells[status].map((type) => ({ type, about: id, correlationIds: [ofOrder(order_id)] })),
    );
  },
};

/** What a payment may be, by what its order is. */
const fitting: Record<Order['status'], readonly Payment['status'][]> = {
  pending: [],
  paid: ['processed'],
  cancelled: ['failed', 'refunded', 'void'],
};

function unfitting(orders: readonly Order[], payments: readonly Payment[]): string[] {
  const statuses = new Map(orders.map(({ id, status }) => [id, status]));
  return payments.flatMap(({ order_id, status }) => {
    const ofOrder = statuses.get(order_id);
    return ofOrder !== undefined && fitting[ofOrder].includes(status)
      ? []
      : [`order ${order_id}: ${ofOrder}, its payment ${status}`];
  });
}

const movements: Partial<Record<Payment['status'], readonly string[]>> = {
  processed: ['charge'],
  refunded: ['charge', 'refund'],
};

const tells: Record<Payment['status'], readonly string[]> = {
  pending: [],
  processed: ['payment.processed'],
  failed: ['payment.failed'],
  refunded: ['payment.processed', 'payment.refunded'],
  void: [],
};
