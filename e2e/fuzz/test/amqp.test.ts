import { randomUUID } from 'node:crypto';
import { eventually, managementOf } from '@warren/testkit';
import { expect } from 'chai';
import fc from 'fast-check';
import { createClient, type Name, type RecordedEvent } from '../../support/src/index.ts';
import { withHouse } from './support/house.ts';
import { createLedger } from './support/ledger.ts';
import { bodyOf, type Odd, oddMessages } from './support/messages.ts';
import { createPublisher, type Publisher, userOf } from './support/publisher.ts';
import { target } from './support/target.ts';

/** ms for a fact that may wait for every retry, on a busy machine. */
const PATIENCE = { timeout: 60_000, interval: 100 };
/** A failed case costs its patience: few of them are tried. */
const SHRINKS = 4;

const METHODS: [Name, string][] = [
  ['user', 'user.find.v1'],
  ['session', 'session.list.v1'],
  ['order', 'order.list.v1'],
  ['payment', 'payment.list.v1'],
];
const REPLY_QUEUE = 'gateway.reply.fuzz';

const event = oddMessages([
  ...[
    'specversion',
    'id',
    'source',
    'type',
    'subject',
    'time',
    'datacontenttype',
    'dataschema',
    'data',
    'data_base64',
  ],
  ...['correlationid', 'causationid', 'traceparent', 'extension', '__proto__'],
  ...[
    'data.userId',
    'data.orderId',
    'data.amount',
    'data.price',
    'data.currency',
    'data.email',
    'data.name',
    'data.reason',
    'data.extra',
  ],
]);
const request = oddMessages(['userId', 'extra', '__proto__', 'limit']);

target('amqp', ({ property }) => {
  // A broker of its own: what ends a service may end the broker, and a shared one has other users.
  const house = withHouse({ RETRY_DELAYS: '100ms,200ms' }, { privateBroker: true });
  const client = createClient();
  const ledger = createLedger(house.system.broker, house.of);
  let publisher: Publisher;
  let templates: RecordedEvent[];
  let known: string;

  before('events to make others of', async function () {
    this.timeout(180_000);
    await ledger.open();
    publisher = createPublisher(house.system.broker);
    await publisher.openReplyQueue('gateway', REPLY_QUEUE);
    known = await signUp();
    await declinedOrder(known);
    templates = await eventually(async () => {
      const byKey = new Map((await house.system.recorder.read()).map((event) => [event.routingKey, event]));
      for (const key of ['user.created.v1', 'order.cancelled.v1', 'payment.processed.v1', 'email.sent.v1'])
        expect([...byKey.keys()]).to.include(key);
      return [...byKey].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, event]) => event);
    }, PATIENCE);
  });
  after(async () => {
    client.close();
    await publisher?.close();
  });

  property(
    'events of any shape stop nobody: each is handled, a duplicate, or dead-lettered',
    45,
    fc.array(event, { minLength: 1, maxLength: 12 }),
    async (events) => {
      await house.restore();
      const before = await ledger.missing();
      for (const odd of events) await publishEvent(odd);
      await signUp();
      await eventually(async () => {
        await house.assertAlive();
        const missing = Object.entries(await ledger.missing()).filter(
          ([queue, count]) => count > (before[queue] ?? 0),
        );
        expect(Object.fromEntries(missing), 'events that are nowhere, by queue').to.deep.equal({});
      }, PATIENCE);
    },
    { shrinks: SHRINKS },
  );

  property(
    'requests of any shape stop nobody: the next one is answered',
    60,
    fc.array(fc.tuple(fc.nat(3), request), { minLength: 1, maxLength: 12 }),
    async (requests) => {
      await house.restore();
      for (const [at, odd] of requests) await publishRequest(METHODS[at]?.[1] as string, odd);
      await overviewComplete();
      for (const [service] of METHODS)
        await eventually(
          async () => expect(await house.system.broker.queueDepth(`${service}.rpc`)).to.equal(0),
          PATIENCE,
        );
      await house.assertAlive();
    },
    { shrinks: SHRINKS },
  );

  property(
    'replies of any shape stop nobody',
    30,
    fc.array(fc.tuple(fc.nat(3), request), { minLength: 1, maxLength: 12 }),
    async (replies) => {
      await house.restore();
      const queues = await replyQueues();
      for (const [at, odd] of replies)
        for (const queue of queues) await publishReply(METHODS[at]?.[0] as Name, queue, odd);
      await overviewComplete();
      await house.assertAlive();
    },
    { shrinks: SHRINKS },
  );

  it('a sign-up afterwards has its session, its paid order and its e-mail', async () => {
    await house.restore();
    const userId = await signUp();
    await eventually(async () => {
      const { body: orders } = await client.send('GET', `${house.of('order').url}/orders?userId=${userId}`);
      expect(orders.items[0]).to.include({ status: 'paid' });
      const { body: emails } = await client.send('GET', `${house.of('email').url}/emails?userId=${userId}`);
      expect(emails.items.some(({ status }: { status: string }) => status === 'sent')).to.equal(true);
    }, PATIENCE);
  });

  house.endsAtSigterm();

  const userIdOf = (service: Name, { anonymous }: Odd) =>
    anonymous ? {} : { userId: userOf(house.system.broker.url(service)) };

  async function publishEvent(odd: Odd): Promise<void> {
    const { routingKey, payload, properties } = templates[odd.template % templates.length] as RecordedEvent;
    const service = routingKey.split('.')[0] as Name;
    const id = randomUUID();
    const { contentType, type, appId, correlationId, timestamp } = properties;
    await publisher.publish(service, 'events', routingKey, bodyOf({ ...JSON.parse(payload), id }, odd), {
      ...{ contentType, type, appId, correlationId, timestamp, messageId: id, persistent: true },
      ...odd.properties,
      ...userIdOf(service, odd),
    });
  }

  async function publishRequest(key: string, odd: Odd): Promise<void> {
    await publisher.publish('gateway', 'rpc', key, bodyOf({ userId: known }, odd), {
      ...{
        contentType: 'application/json',
        messageId: randomUUID(),
        replyTo: REPLY_QUEUE,
        type: key,
        appId: 'gateway',
        expiration: '2000',
      },
      ...odd.properties,
      ...userIdOf('gateway', odd),
      headers: { 'x-warren-timeout': 2_000, ...odd.properties.headers },
    });
  }

  async function publishReply(as: Name, queue: string, odd: Odd): Promise<void> {
    await publisher.publish(as, 'rpc', queue, bodyOf({ items: [] }, odd), {
      ...{
        contentType: 'application/json',
        messageId: randomUUID(),
        correlationId: randomUUID(),
        type: 'reply',
        appId: as,
      },
      ...odd.properties,
      ...userIdOf(as, odd),
    });
  }

  async function replyQueues(): Promise<string[]> {
    const { broker } = house.system;
    const queues = await managementOf({ url: broker.adminUrl, managementUrl: broker.managementUrl }).request<
      { name: string }[]
    >('GET', `queues/${encodeURIComponent(broker.vhost)}?columns=name`);
    return (queues ?? [])
      .map(({ name }) => name)
      .filter((name) => name.startsWith('gateway.reply.') && name !== REPLY_QUEUE);
  }

  /** Somebody new, whose session is open: the good message behind the bad ones has had its effect. */
  async function signUp(): Promise<string> {
    const { status, body } = await client.send('POST', `${house.of('user').url}/users`, {
      body: { name: 'Good', email: `${randomUUID()}@example.com` },
    });
    expect(status).to.equal(201);
    await eventually(async () => {
      const { body: sessions } = await client.send(
        'GET',
        `${house.of('session').url}/sessions?userId=${body.id}`,
      );
      expect(sessions.items, 'sessions of a good user').to.have.length(1);
    }, PATIENCE);
    return body.id;
  }

  async function declinedOrder(userId: string): Promise<void> {
    await eventually(async () => {
      const { status } = await client.send('POST', `${house.of('order').url}/orders`, {
        body: { userId, productName: 'Yacht', price: 5_000 },
      });
      expect(status).to.equal(201);
    }, PATIENCE);
  }

  async function overviewComplete(): Promise<void> {
    await eventually(async () => {
      const { status, body } = await client.send('GET', `${house.of('gateway').url}/overview/${known}`);
      expect(status).to.equal(200);
      expect(body.missing, 'parts of the overview that nobody answered').to.deep.equal([]);
    }, PATIENCE);
  }
});
