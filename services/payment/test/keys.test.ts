import { randomUUID } from 'node:crypto';
import { orderCancelled, orderCreated } from '@warren/contracts';
import { eventually, message, withBroker, withDatabase, withKeys } from '@warren/testkit';
import { service } from '../src/service.ts';
import { replicas, settled } from './running.ts';

/** What the order service says of an order. */
function orderOf(userId: string = randomUUID()) {
  const orderId = randomUUID();
  const order = { orderId, userId, productName: 'A book', price: 12.5, currency: 'EUR' as const };
  return {
    created: () => message(orderCreated, order, { subject: orderId }),
    cancelled: () => message(orderCancelled, { ...order, reason: 'payment_timeout' }, { subject: orderId }),
  };
}

describe('the keys of the payment service', function () {
  this.timeout(60_000);
  const broker = withBroker({ services: ['payment'] });
  const database = withDatabase();
  const { startWith, stopAll } = replicas(broker, database);
  const keys = withKeys({ service, broker, database });

  before(() => startWith());
  // Nothing is left to charge or refund: charges are settled together, and would wait for one that is held.
  afterEach(() => settled(database));
  after(stopAll);

  const said = ['created', 'cancelled'] as const;
  for (const one of said)
    for (const other of said) {
      keys.itKeepsApart(`orders of one user, ${one} and ${other},`, () => {
        const userId = randomUUID();
        return [orderOf(userId)[one](), orderOf(userId)[other]()];
      });
      keys.itOrders(`${one} and ${other} of one order`, () => {
        const order = orderOf();
        return [order[one](), order[other]()];
      });
    }

  /** Two orders of a user whose payments have been charged. */
  const charged = async () => {
    const userId = randomUUID();
    const orders = [orderOf(userId), orderOf(userId)] as const;
    for (const { created } of orders) await broker.publish(...created().published);
    await isCharged(userId);
    return orders;
  };
  const isCharged = (userId: string) =>
    eventually(async () => {
      const sql = `select 1 from payments where user_id = $1 and status = 'processed'`;
      return (await database.admin(sql, [userId])).length === 2;
    });

  keys.itKeepsApart('cancellations of two orders of one user that are paid', async () => {
    const [one, other] = await charged();
    return [one.cancelled(), other.cancelled()];
  });
  keys.itOrders('two cancellations of an order that is paid', async () => {
    const [order] = await charged();
    return [order.cancelled(), order.cancelled()];
  });
});
