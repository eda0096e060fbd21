// What the RMQ transport of @nestjs/microservices does where the example loses nothing.
import { join } from 'node:path';
import { eventually, type RunningProcess, startProcess, withBroker, withDatabase } from '@warren/testkit';
import { connect } from 'amqplib';
import { expect } from 'chai';

const cwd = join(import.meta.dirname, '..');

describe('the RMQ transport of @nestjs/microservices', function () {
  this.timeout(60_000);
  const broker = withBroker({ services: ['loyalty'] });
  const database = withDatabase();
  let app: RunningProcess | undefined;
  let queue: string;

  const start = (env: Record<string, string>) => {
    app = startProcess({
      cwd,
      entry: 'test/fixtures/rmq-transport.ts',
      env: { AMQP_URL: broker.adminUrl, DATABASE_URL: database.url, QUEUE: queue, ...env },
    });
    return app;
  };
  const send = async (pattern: string) => {
    const connection = await connect(broker.adminUrl);
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue(queue, { durable: true });
    channel.sendToQueue(queue, Buffer.from(JSON.stringify({ pattern, data: {} })), { persistent: true });
    await channel.waitForConfirms();
    await connection.close();
  };
  const handled = () => app?.output.filter((line) => line.startsWith('handled')) ?? [];

  before(() => database.admin('create table orders (name text not null)'));
  beforeEach(() => {
    queue = `comparison.${crypto.randomUUID()}`;
  });
  afterEach(() => app?.kill('SIGKILL'));

  it('loses the event when the process dies between save and emit', async () => {
    await start({ MODE: 'save' }).ended;
    expect(await database.admin('select name from orders')).to.deep.equal([{ name: 'a lamp' }]);
    expect(await broker.queueDepth(queue)).to.equal(0);
  });

  it('loses the event when the handler throws, by default', async () => {
    await send('order.saved');
    const consumer = start({ MODE: 'consume' });
    await eventually(() => expect(handled()).to.have.length(1));
    await consumer.kill('SIGKILL');
    expect(await broker.queueDepth(queue)).to.equal(0);
  });

  it('loops without a pause when the handler requeues what it cannot handle', async () => {
    await send('order.saved');
    start({ MODE: 'consume', ACK: 'manual' });
    await eventually(() => expect(handled().length).to.be.greaterThan(100));
  });
});
