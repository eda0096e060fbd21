import { randomUUID } from 'node:crypto';
import { type RunningService, start } from '@warren/chassis';
import {
  orderCancelled,
  orderConfirmed,
  orderCreated,
  paymentRefunded,
  userCreated,
} from '@warren/contracts';
import { eventually, message, withBroker, withDatabase, withKeys } from '@warren/testkit';
import { service } from '../src/service.ts';

/** All that is said about a user; but for the ids and the address, which is one user's alone, two have everything in common. */
function customer(userId: string = randomUUID()) {
  const [orderId, paymentId] = [randomUUID(), randomUUID()];
  const order = { orderId, userId, productName: 'A book', price: 12.5, currency: 'EUR' as const };
  const { price: amount, currency } = order;
  const reason = 'payment_timeout';
  return {
    'user.created': message(
      userCreated,
      { userId, name: 'Ada', email: `${userId}@example.com` },
      { subject: userId },
    ),
    'order.created': message(orderCreated, order, { subject: orderId }),
    'order.confirmed': message(orderConfirmed, order, { subject: orderId }),
    'order.cancelled': message(orderCancelled, { ...order, reason }, { subject: orderId }),
    'payment.refunded': message(
      paymentRefunded,
      {
        paymentId,
        orderId,
        userId,
        amount,
        currency,
        reason,
      },
      { subject: paymentId },
    ),
  };
}

describe('the keys of the e-mail service', function () {
  this.timeout(60_000);
  const broker = withBroker({ services: ['email'] });
  const database = withDatabase();
  const keys = withKeys({ service, broker, database });
  let email: RunningService;

  before(async () => {
    email = await start(service, {
      PORT: '0',
      ADMIN_PORT: '0',
      AMQP_URL: broker.url('email'),
      DATABASE_URL: database.url,
      LOG_LEVEL: 'silent',
    });
    await eventually(() => email.ready());
  });
  after(() => email?.stop());

  const types = Object.keys(customer()) as (keyof ReturnType<typeof customer>)[];
  for (const type of types)
    for (const other of types) {
      keys.itKeepsApart(`${type} of one user and ${other} of another`, () => [
        customer()[type],
        customer()[other],
      ]);
      keys.itOrders(`${type} and ${other} of one user`, () => {
        const userId = randomUUID();
        return [customer(userId)[type], customer(userId)[other]];
      });
    }
});
