import { connect } from 'amqplib';
import { expect } from 'chai';
import { withBroker } from '../src/index.ts';

describe('a private broker', () => {
  const broker = withBroker({ private: true, services: ['user'] });

  for (const how of ['kill', 'stop'] as const) {
    it(`is away after ${how}(), and back after start() with ports, users and messages`, async function () {
      this.timeout(120_000);
      const url = broker.url('user');
      await broker.publish('unrouted', how, { how });

      await broker[how]();
      const refused = await connect(url).catch((error: Error) => error);
      await broker.start();

      expect(refused).to.be.an('error');
      const connection = await connect(url);
      await connection.close();
      const messages = await broker.get('unrouted', { remove: true });
      expect(messages.map(({ body }) => body)).to.deep.equal([{ how }]);
    });
  }
});
