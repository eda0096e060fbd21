import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { query, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { faultsOf, readBooks, type Source } from '../src/accounting.ts';

/** The tables of the same work; paid, each order once. */
const FILL = `
  insert into orders (id, user_id, product_name, price, currency, status)
  select id, id, 'Thing', 100, 'EUR', 'paid' from unnest($1::uuid[]) id`;
const PAY = `
  insert into payments (id, order_id, user_id, amount, currency, status)
  select gen_random_uuid(), id, id, 100, 'EUR', 'processed' from unnest($1::uuid[]) id`;

describe('the accounts of a run', () => {
  const database = withDatabase();
  const accepted = Array.from({ length: 5 }, () => randomUUID());
  const [first = ''] = accepted;
  let queues: Record<string, number> = {};
  const source: Source = {
    system: {
      hasInbox: false,
      leftovers: [{ service: 'order', what: 'outbox', sql: 'select count(*)::int as count from outbox' }],
    },
    databaseUrl: () => database.url,
    queueDepths: async () => queues,
  };
  const faults = async (signUps = 0) => faultsOf(await readBooks(source), { accepted, signUps });

  before(async () => {
    const tables = ['order/migrations/001_orders.sql', 'payment/migrations/001_payments.sql'];
    for (const file of tables)
      await query(database.url, readFileSync(new URL(`../same-work/${file}`, import.meta.url), 'utf8'));
    await query(database.url, 'create table outbox (id int)');
  });

  beforeEach(async () => {
    queues = {};
    await query(database.url, 'truncate orders, payments, outbox');
    await query(database.url, FILL, [accepted]);
    await query(database.url, PAY, [accepted]);
  });

  it('finds nothing where every order is paid once', async () => {
    expect(await faults()).to.deep.equal([]);
  });

  it('finds an order that was accepted and is lost', async () => {
    await query(database.url, 'delete from orders where id = $1', [first]);
    await query(database.url, 'delete from payments where order_id = $1', [first]);
    expect(await faults()).to.deep.equal([
      `1 orders were accepted and are lost, e.g. ${first}`,
      'there are 4 orders, and 5 were placed',
    ]);
  });

  it('finds an order that was paid twice', async () => {
    await query(database.url, PAY, [[first]]);
    expect(await faults()).to.deep.equal([`1 orders were paid more than once, e.g. ${first}`]);
  });

  it('finds an order that was placed twice', async () => {
    const second = randomUUID();
    await query(database.url, FILL, [[second]]);
    await query(database.url, PAY, [[second]]);
    expect(await faults()).to.deep.equal(['there are 6 orders, and 5 were placed']);
  });

  it('finds an order whose payment is lost', async () => {
    await query(database.url, 'delete from payments where order_id = $1', [first]);
    await query(database.url, "update orders set status = 'pending' where id = $1", [first]);
    expect(await faults()).to.deep.equal([
      `1 orders are not paid, e.g. ${first}`,
      `1 orders have no payment, e.g. ${first}`,
    ]);
  });

  it('finds rows and messages that are left over', async () => {
    await query(database.url, 'insert into outbox values (1)');
    queues = { 'order.payment.processed': 2, unrouted: 3 };
    expect(await faults()).to.deep.equal([
      '1 rows are left in order outbox',
      '2 messages are left in the queue order.payment.processed',
    ]);
  });

  it('finds a missing row of the inbox', async () => {
    const books = { ...(await readBooks(source)), inbox: { order: 5, payment: 4 } };
    expect(faultsOf(books, { accepted, signUps: 0 })).to.deep.equal([
      'the inbox of payment has 4 rows, not 5',
    ]);
  });
});
