import { eventually, withBroker, withDatabase } from '@warren/testkit';
import { type Channel, type ChannelModel, connect } from 'amqplib';
import { expect } from 'chai';
import { type RunningService, start } from '../src/service/start.ts';
import { alpha, listener } from './fixtures/services.ts';

const quorum = { durable: true, arguments: { 'x-queue-type': 'quorum' } };

describe("a service's broker user", () => {
  after(async () => {
    await connection?.close();
    await Promise.all(running.map((service) => service.stop()));
  });
  const broker = withBroker({ services: ['alpha', 'beta'] });
  const databases = { alpha: withDatabase(), beta: withDatabase() };
  const running: RunningService[] = [];
  let connection: ChannelModel;

  before(async () => {
    for (const service of [alpha, listener('beta')]) {
      const name = service.name as 'alpha' | 'beta';
      running.push(
        await start(service, {
          PORT: '0',
          ADMIN_PORT: '0',
          LOG_LEVEL: 'silent',
          AMQP_URL: broker.url(name),
          DATABASE_URL: databases[name].url,
        }),
      );
    }
    await eventually(() => expect(running.every((service) => service.ready())).to.equal(true));
    connection = await connect(broker.url('alpha'));
    connection.on('error', () => {});
  });

  const refused: [string, (channel: Channel) => Promise<unknown>][] = [
    ["declare another's queue", (channel) => channel.assertQueue('beta.mine', quorum)],
    ["declare another's exchange", (channel) => channel.assertExchange('beta.mine', 'direct')],
    ['declare a shared exchange', (channel) => channel.assertExchange('events2', 'topic')],
    ['redeclare events', (channel) => channel.deleteExchange('events')],
    ["delete another's queue", (channel) => channel.deleteQueue('beta.alpha.written')],
    ["purge another's queue", (channel) => channel.purgeQueue('beta.alpha.written')],
    ["read another's queue", (channel) => channel.get('beta.alpha.written')],
    ["consume another's queue", (channel) => channel.consume('beta.alpha.written', () => {})],
    ["read another's dead letters", (channel) => channel.get('beta.alpha.written.dlq')],
    ["bind another's queue", (channel) => channel.bindQueue('beta.alpha.written', 'events', '#')],
    [
      'have its own queue dead-letter into another service',
      (channel) =>
        channel.assertQueue('alpha.q', {
          durable: true,
          arguments: { 'x-queue-type': 'quorum', 'x-dead-letter-exchange': 'beta.return' },
        }),
    ],
    ["write to another's retry exchange", (channel) => write(channel, 'beta.retry', '1s')],
    ["write to another's return exchange", (channel) => write(channel, 'beta.return', 'beta.alpha.written')],
    ["publish another's event", (channel) => write(channel, 'events', 'beta.happened.v1')],
    ['write to the default exchange', (channel) => write(channel, '', 'beta.alpha.written')],
    ['write to unrouted', (channel) => write(channel, 'unrouted', '')],
    ['read unrouted', (channel) => channel.get('unrouted')],
    [
      "bind a queue to another's requests",
      async (channel) => {
        await channel.assertQueue('alpha.spy', quorum);
        await channel.bindQueue('alpha.spy', 'rpc', 'beta.get');
      },
    ],
  ];

  for (const [what, attempt] of refused) {
    it(`may not ${what}`, async () => {
      const channel = await connection.createConfirmChannel();
      const failure = new Promise<Error & { code?: number }>((resolve) => channel.on('error', resolve));
      await attempt(channel).catch(() => {});
      expect((await failure).message).to.match(/403|ACCESS[_-]REFUSED/i);
    });
  }

  it('may publish its own event', async () => {
    const probe = await broker.probe('events', 'alpha.#');
    const channel = await connection.createConfirmChannel();
    await write(channel, 'events', 'alpha.other.v1');
    await channel.close();
    await probe.waitFor((message) => message.routingKey === 'alpha.other.v1');
  });

  function write(channel: Channel, exchange: string, key: string): Promise<void> {
    return new Promise((resolve, reject) => {
      (channel as Channel & { publish(...args: unknown[]): boolean }).publish(
        exchange,
        key,
        Buffer.from('{}'),
        {},
        (error: unknown) => (error ? reject(error) : resolve()),
      );
    });
  }
});
