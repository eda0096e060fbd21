// An attacker has the broker user of the session service, and wants an order to count as paid without a payment.
import { randomUUID } from 'node:crypto';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import {
  createClient,
  forge,
  forgingWays,
  orderOnce,
  signUpOnce,
  withSystem,
} from '../../support/src/index.ts';

const PRICE = 9_999_999.99;
const DLQ = 'order.payment.processed.dlq';

describe('a payment event of another service than payment', function () {
  this.timeout(90_000);
  const system = withSystem({ services: ['user', 'session', 'order', 'payment'], auth: true });
  const client = createClient(system.authorize);
  let userId: string;
  let orderUrl: string;

  before('a user, and nobody who takes payments', async () => {
    const [user, order] = [await system.run('user'), await system.run('order')];
    orderUrl = order.url;
    const signedUp = await signUpOnce(client, system.ledger, user.url, { id: 'mallory', key: 'mallory' });
    userId = signedUp.user?.id as string;
  });
  after(() => client.close());

  const statusOf = async (orderId: string) =>
    (await client.send('GET', `${orderUrl}/orders/${orderId}`)).body.status;
  const place = async () => {
    const content = { userId, productName: 'An island', price: PRICE, currency: 'EUR' as const };
    const { order } = await orderOnce(client, system.orders, orderUrl, { id: randomUUID(), content });
    return order?.orderId as string;
  };

  const users: [string, () => string | undefined][] = [
    ['no user-id', () => undefined],
    ['its own user-id', () => `${system.broker.vhost}.session`],
    ["payment's user-id", () => `${system.broker.vhost}.payment`],
  ];
  for (const [what, way] of Object.entries(forgingWays))
    for (const [whose, userIdOf] of users)
      it(`${what}, with ${whose}, pays nothing`, async () => {
        const orderId = await place();
        const id = randomUUID();
        const event = {
          specversion: '1.0',
          id,
          source: '/payment',
          type: 'payment.processed',
          time: new Date().toISOString(),
          datacontenttype: 'application/json',
          dataschema: 'urn:warren:payment.processed:v1',
          data: { paymentId: randomUUID(), orderId, userId, amount: PRICE, currency: 'EUR' },
        };
        const refusal = await forge(system, 'session', way, {
          key: 'payment.processed.v1',
          content: Buffer.from(JSON.stringify(event)),
          properties: { messageId: id, contentType: 'application/cloudevents+json', userId: userIdOf() },
        });

        if (whose.startsWith('payment')) expect(refusal).to.match(/403|406/);
        if (refusal === undefined)
          await eventually(
            async () => {
              const dead = (await system.broker.get(DLQ)).find((each) => each.properties.messageId === id);
              expect(dead?.properties.headers).to.include({ 'x-warren-reason': 'forged' });
            },
            { timeout: 30_000 },
          );
        expect(await statusOf(orderId)).to.equal('pending');
      });

  it('pays when payment itself publishes it', async () => {
    const orderId = await place();
    const data = { paymentId: randomUUID(), orderId, userId, amount: PRICE, currency: 'EUR' };
    await system.broker.publish('events', 'payment.processed.v1', {
      specversion: '1.0',
      id: randomUUID(),
      source: '/payment',
      type: 'payment.processed',
      time: new Date().toISOString(),
      dataschema: 'urn:warren:payment.processed:v1',
      data,
    });
    await eventually(async () => expect(await statusOf(orderId)).to.equal('paid'), { timeout: 30_000 });
  });
});
