// What must be true of every order at the end, after any sequence: read from both services' tables, from the provider's books
// and of the events.
import { sql } from '@warren/chassis';
import { expect } from 'chai';
import type { Course } from './course.ts';
import type { Parties } from './parties.ts';

interface Order {
  status: string;
  reason: string | null;
  tasks: number;
}

interface Payment {
  id: string;
  status: string;
  /** Of a task that is left: its kind. */
  tasks: string[] | null;
}

interface Booked {
  kind: 'charge' | 'refund';
  outcome: 'accepted' | 'declined';
  amount: number;
  currency: string;
}

/** What payment tells of each ending, and the entries that moved money. */
const endings: Record<string, { told: string[]; moved: Booked['kind'][] }> = {
  processed: { told: ['payment.processed'], moved: ['charge'] },
  refunded: { told: ['payment.processed', 'payment.refunded'], moved: ['charge', 'refund'] },
  failed: { told: ['payment.failed'], moved: [] },
  void: { told: [], moved: [] },
};

/** @returns how the order and its payment ended, in few words */
export async function audit(course: Course, { order, payment }: Parties): Promise<string> {
  const { orderId, told, money } = course;
  const [orders, payments, books] = await Promise.all([
    sql<Order>`
      select status, reason, (select count(*)::int from warren.tasks where kind = 'order.expire' and key = orders.id::text) as tasks
      from orders where id = ${orderId}`.execute(order.database.kysely),
    sql<Payment>`
      select id, status, (select array_agg(kind) from warren.tasks
                          where kind in ('payment.charge', 'payment.refund') and key = payments.id::text) as tasks
      from payments where order_id = ${orderId}`.execute(payment.database.kysely),
    sql<Booked>`
      select kind, outcome, amount, currency from simulator.books where reference = ${orderId}
      order by booked_at`.execute(payment.database.kysely),
  ]);
  const [placed] = orders.rows;
  const [paid] = payments.rows;
  if (placed === undefined || paid === undefined || payments.rows.length > 1)
    throw new Error(`there is ${orders.rows.length} order with ${payments.rows.length} payments`);
  const ending = `order ${placed.status}${placed.reason ? ` (${placed.reason})` : ''}, payment ${paid.status}`;

  // Nobody is stuck.
  expect(placed.status, ending).to.be.oneOf(['paid', 'cancelled']);
  const expected = endings[paid.status];
  if (expected === undefined) throw new Error(`${ending}: a payment does not end so`);
  expect({ tasks: placed.tasks, paymentTasks: paid.tasks }, ending).to.deep.equal({
    tasks: 0,
    paymentTasks: null,
  });

  // Money is taken once and kept for a paid order alone; from a cancelled one it is never taken, or refunded once.
  const moved = books.rows.filter(({ outcome }) => outcome === 'accepted');
  expect(
    moved.map(({ kind }) => kind),
    `${ending}: what moved`,
  ).to.deep.equal(expected.moved);
  for (const { amount, currency } of books.rows)
    expect({ amount, currency }, ending).to.deep.equal({ amount: money.price, currency: money.currency });
  if (paid.status === 'void') expect(books.rows, `${ending}: the provider was never asked`).to.be.empty;
  expect(paid.status === 'processed', `${ending}: kept for a paid order alone`).to.equal(
    placed.status === 'paid',
  );
  if (money.declined) expect(paid.status, `${ending}: above the limit`).to.be.oneOf(['failed', 'void']);
  else expect(paid.status, `${ending}: below the limit`).not.to.equal('failed');

  // Each service has told of it, once, and nobody of anything else. That an event fits its contract was seen as it was made.
  const types = (source: string) => told.filter((each) => each.source === source).map(({ type }) => type);
  const end = placed.status === 'paid' ? 'order.confirmed' : 'order.cancelled';
  expect(types('/order'), `${ending}: told by order`).to.deep.equal(['order.created', end]);
  expect(types('/payment'), `${ending}: told by payment`).to.deep.equal(expected.told);
  expect(course.refused, `${ending}: refused`).to.deep.equal([]);

  // An order is cancelled for a reason.
  const timeOf = (type: string) => Date.parse(told.find((each) => each.type === type)?.time ?? '');
  if (placed.reason === 'payment_timeout')
    expect(
      course.mayTimeOut(timeOf('order.created'), timeOf('order.cancelled')),
      `${ending}: its time was up`,
    ).to.equal(true);
  else if (placed.status === 'cancelled') {
    expect(placed.reason).to.equal('limit_exceeded');
    expect(paid.status, ending).to.equal('failed');
  }
  return ending;
}
