// A service's broker user reads the events that its broker.ts subscribes to, and no others.
import { client, eventually, platformDefinitions, withBroker, withDatabase } from '@warren/testkit';
import { type Channel, type ChannelModel, connect } from 'amqplib';
import { expect } from 'chai';
import { type RunningService, start } from '../src/service/start.ts';
import { listener, written } from './fixtures/services.ts';

const definitions = platformDefinitions(['alpha', 'beta', 'delta'], (service) => ({
  consumes: service === 'beta' ? [written.routingKey] : [],
  calls: service === 'beta' ? ['alpha.find.v1'] : [],
  answers: service === 'alpha' ? ['beta'] : [],
}));

describe("a service's broker user and the events of others", () => {
  after(() => connection?.close());
  const broker = withBroker({ services: ['alpha', 'beta', 'delta'], definitions });
  let connection: ChannelModel;

  before(async () => {
    connection = await connect(broker.url('beta'));
    connection.on('error', () => {});
    const channel = await connection.createChannel();
    await channel.assertQueue('beta.mine', { durable: true });
    await channel.assertExchange('beta.mine', 'topic');
    await channel.close();
  });

  const attempt = async (deed: (channel: Channel) => Promise<unknown> | unknown) => {
    const channel = await connection.createConfirmChannel();
    const refused = new Promise<string>((resolve) => channel.on('error', ({ message }) => resolve(message)));
    try {
      await deed(channel);
      await Promise.race([channel.waitForConfirms(), refused.then(Promise.reject.bind(Promise))]);
      await channel.close();
      return 'nothing';
    } catch {
      return refused;
    }
  };

  it('may subscribe to what its broker.ts names, and call the methods that name it', async () => {
    expect(await attempt((channel) => channel.bindQueue('beta.mine', 'events', written.routingKey))).to.equal(
      'nothing',
    );
    expect(await attempt((channel) => channel.publish('rpc', 'alpha.find.v1', Buffer.from('{}')))).to.equal(
      'nothing',
    );
  });

  for (const key of ['#', '*.*.*', 'alpha.#', 'gamma.done.v1', 'alpha.written.v11', '', 'beta.done.v1'])
    it(`may not bind '${key}', neither by a queue nor by an exchange`, async () => {
      const byQueue = await attempt((channel) => channel.bindQueue('beta.mine', 'events', key));
      const byExchange = await attempt((channel) => channel.bindExchange('beta.mine', 'events', key));
      for (const refusal of [byQueue, byExchange]) expect(refusal).to.match(/403|ACCESS[_-]REFUSED/);
    });

  for (const key of ['alpha.delete.v1', 'alpha.reply.x', 'delta.reply.x'])
    it(`may not publish ${key} to rpc`, async () => {
      expect(await attempt((channel) => channel.publish('rpc', key, Buffer.from('{}')))).to.match(
        /403|ACCESS[_-]REFUSED/,
      );
    });
});

describe('a service with a subscription that the broker does not know of yet', () => {
  after(() => delta?.stop());
  const broker = withBroker({ services: ['alpha', 'beta', 'delta'], definitions });
  const database = withDatabase();
  let delta: RunningService;

  it('is not ready, and says in a sentence what is to be done first', async () => {
    delta = await start(listener('delta'), {
      PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: 'silent',
      AMQP_URL: broker.url('delta'),
      DATABASE_URL: database.url,
    });
    await eventually(
      async () => {
        const { status, body } = await client(delta.adminUrl).get('/readyz');
        expect(status).to.equal(503);
        expect(body.brokerProblem).to.match(
          /^this user may not subscribe to alpha\.written\.v1 \(.+\): import the definitions file before a service with a new subscription is started$/,
        );
      },
      { timeout: 30_000 },
    );
  });
});
