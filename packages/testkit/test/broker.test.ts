import { connect } from 'amqplib';
import { expect } from 'chai';
import { withBroker } from '../src/index.ts';

describe('withBroker', () => {
  const broker = withBroker({ services: ['user', 'session'] });

  it('records what is published, and waits for facts', async () => {
    const probe = await broker.probe('events', 'user.#');
    await broker.publish(
      'events',
      'user.created.v1',
      { type: 'user.created', data: { userId: '1' } },
      { messageId: 'a' },
    );
    await broker.publish('events', 'session.opened.v1', { type: 'session.opened' });
    await broker.publish('events', 'user.created.v1', Buffer.from([0, 1, 2]));

    const [event] = await probe.waitFor({ type: 'user.created' });
    await probe.waitFor(() => true, { count: 2 });

    expect(event?.body.data).to.deep.equal({ userId: '1' });
    expect(event?.properties.messageId).to.equal('a');
    expect(probe.events).to.have.length(2);
    expect(probe.events[1]?.content).to.deep.equal(Buffer.from([0, 1, 2]));
  });

  it('says what came instead, when a fact does not come', async () => {
    const probe = await broker.probe('events', '#');
    await broker.publish('events', 'user.created.v1', { type: 'user.created' });
    await probe.waitFor({ type: 'user.created' });

    const error = await probe
      .waitFor({ type: 'session.opened' }, { timeout: 50 })
      .catch((failure: Error) => failure);

    expect(error).to.be.an('error');
    expect((error as Error).message)
      .to.include('0 of 1')
      .and.to.include('user.created');
    await probe.close();
  });

  it('looks into queues, and leaves the messages where they are', async () => {
    await broker.purge('unrouted');
    for (const n of [1, 2, 3]) await broker.publish('unrouted', 'x', { n });

    const seen = await broker.get('unrouted');
    const again = await broker.get('unrouted', { remove: true });

    expect(seen.map(({ body }) => body.n)).to.deep.equal([1, 2, 3]);
    expect(again.map(({ body }) => body.n)).to.deep.equal([1, 2, 3]);
    expect(await broker.queueDepth('unrouted')).to.equal(0);
    expect(await broker.queueDepth('no.such.queue')).to.equal(undefined);
  });

  it('keeps an event that nobody is bound to in unrouted', async () => {
    await broker.publish('events', 'nobody.cares.v1', { type: 'nobody.cares' });

    const [message] = await broker.get('unrouted', { remove: true });

    expect(message?.routingKey).to.equal('nobody.cares.v1');
  });

  it('gives each service a user that may do what is its own', async () => {
    const connection = await connect(broker.url('user'));
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue('user.something', { durable: true });
    channel.publish('events', 'user.created.v1', Buffer.from('{}'));
    await channel.waitForConfirms();
    await connection.close();
  });

  const refusals: [string, (channel: Awaited<ReturnType<typeof open>>['channel']) => unknown][] = [
    ["declare another's queue", (channel) => channel.assertQueue('user.mine')],
    ["forge another's event", (channel) => channel.publish('events', 'user.created.v1', Buffer.from('{}'))],
    ['write to the default exchange', (channel) => channel.publish('', 'user.created', Buffer.from('{}'))],
    ['declare a shared exchange', (channel) => channel.assertExchange('other', 'topic')],
    ["read another's queue", (channel) => channel.get('unrouted')],
    [
      'call a method whose contract does not name it',
      (channel) => channel.publish('rpc', 'user.find.v1', Buffer.from('{}')),
    ],
    ['answer whom no contract names', (channel) => channel.publish('rpc', 'user.reply.x', Buffer.from('{}'))],
    ...['#', '*.created.v1', 'payment.processed.v1', 'user.created.v2'].flatMap((key): typeof refusals => [
      [
        `hear ${key} by a queue`,
        async (channel) => {
          const { queue } = await channel.assertQueue('session.spy', { durable: true });
          await channel.bindQueue(queue, 'events', key);
        },
      ],
      [
        `hear ${key} by an exchange`,
        async (channel) => {
          await channel.assertExchange('session.spy', 'fanout');
          await channel.bindExchange('session.spy', 'events', key);
        },
      ],
    ]),
  ];
  for (const [what, attempt] of refusals) {
    it(`refuses to let a service ${what}`, async () => {
      const { connection, channel, refused } = await open(broker.url('session'));
      await Promise.resolve(attempt(channel)).catch(() => {});

      expect(await refused).to.include('ACCESS_REFUSED');

      await connection.close();
    });
  }

  it('publishes an event as the service that its routing key begins with, and anything else as the operator', async () => {
    const probe = await broker.probe('events');
    const rpc = await broker.probe('rpc');
    for (const service of ['user', 'session', 'payment', 'nobody'])
      await broker.publish('events', `${service}.happened.v1`, {});
    await broker.publish('rpc', 'user.find.v1', {});
    await broker.publish('rpc', 'user.find.v1', {}, {}, 'gateway');
    const users = async (of: typeof probe, count: number) =>
      (await of.waitFor(() => true, { count })).map(({ properties }) => properties.userId);

    expect(await users(probe, 4)).to.deep.equal(
      ['user', 'session', 'payment', 'nobody'].map((service) => `${broker.vhost}.${service}`),
    );
    expect(await users(rpc, 2)).to.deep.equal([broker.operator, `${broker.vhost}.gateway`]);
  });

  it('names the services when another one is requested', () => {
    expect(() => broker.url('order')).to.throw(
      "no broker user was made for 'order', only for: user, session",
    );
  });
});

async function open(url: string) {
  const connection = await connect(url);
  connection.on('error', () => {});
  const channel = await connection.createConfirmChannel();
  const refused = new Promise<string>((resolve) =>
    channel.once('error', (error: Error) => resolve(error.message)),
  );
  return { connection, channel, refused };
}
