import { buildEvent } from '@warren/events';
import { eventually, type TcpProxy as Line, openProxy, withBroker, withDatabase } from '@warren/testkit';
import { type Channel, type Connection, connect } from 'amqplib/callback_api';
import { expect } from 'chai';
import { pause } from '../src/concurrency.ts';
import { newId } from '../src/id.ts';
import { closeQuietly, withChannel } from '../src/messaging/publisher.ts';
import { patchChannels } from '../src/messaging/rascal/amqplib-patches.ts';
import { promised } from '../src/messaging/rascal/rascal.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { createLog } from '../src/telemetry/index.ts';
import { hear, listener, written } from './fixtures/services.ts';

describe('a connection that is lost with deliveries in flight', function () {
  this.timeout(60_000);
  after(async () => {
    await beta?.stop();
    await proxy?.close();
  });
  const broker = withBroker({ services: ['alpha', 'beta'] });
  const database = withDatabase();
  let beta: RunningService;
  let proxy: Line;
  const lines: { msg: string }[] = [];
  const publish = () =>
    broker.publish(
      'events',
      written.routingKey,
      JSON.stringify(
        buildEvent(written, {
          id: newId(),
          source: '/alpha',
          time: new Date(),
          data: { noteId: newId(), text: 'x' },
        }),
      ),
    );
  const handled = async () =>
    (await database.admin<{ n: number }>('select count(*)::int n from heard'))[0]?.n as number;
  const count = (text: string) => lines.filter(({ msg }) => msg === text).length;

  before(async () => {
    proxy = await openProxy(broker.url('beta'));
    beta = await start(
      listener('beta', async (event, work) => {
        await pause(1_500);
        await hear(event, work);
      }),
      { PORT: '0', ADMIN_PORT: '0', AMQP_URL: proxy.url, DATABASE_URL: database.url },
      {
        log: createLog({
          service: 'beta',
          version: '1',
          level: 'info',
          stream: { write: (line) => lines.push(JSON.parse(line)) },
        }),
      },
    );
    await eventually(() => expect(beta.ready()).to.equal(true));
  });

  it('does not end the next connection', async () => {
    for (let i = 0; i < 40; i += 1) await publish();
    await pause(500);
    proxy.cut();
    await eventually(async () => expect(await handled()).to.equal(40), { timeout: 45_000 });
    expect(count('broker recovered')).to.equal(1);
  });

  it('recovers when it is lost again at any moment of recovering', async () => {
    const connected = async () => {
      const body = (await (await fetch(`${beta.adminUrl}/readyz`)).json()) as { broker: string };
      expect(body.broker).to.equal('connected');
    };
    for (let delay = 80; delay < 320; delay += 10) {
      proxy.cut();
      await pause(delay);
      proxy.stall();
      await pause(10);
      proxy.cut();
      proxy.resume();
      await eventually(connected, { timeout: 15_000 });
    }
  });
});

describe('a close handshake that the broker never answers', () => {
  const broker = withBroker({ services: ['alpha'] });
  let proxy: Line;
  let connection: Connection;

  beforeEach(async () => {
    proxy = await openProxy(broker.url('alpha'));
    connection = await promised<Connection>((done) => connect(proxy.url, done));
    connection.on('error', () => {});
  });
  afterEach(() => proxy.close());

  it('ends with the connection, for a channel', async () => {
    const used = withChannel(connection, async () => proxy.stall());
    await pause(50);
    proxy.cut();
    expect(await Promise.race([used.then(() => 'ended'), pause(2_000)])).to.equal('ended');
  });

  it('may be repeated on a closed channel, as Rascal does a minute later', async () => {
    const channel = await promised<Channel>((done) => connection.createChannel(done));
    patchChannels(channel);
    proxy.cut();
    await new Promise((resolve) => connection.once('close', resolve));
    await new Promise((resolve) => channel.close(() => resolve(undefined)));
  });

  it('makes opening a channel afterwards fail in its callback, not throw', async () => {
    patchChannels(await promised<Channel>((done) => connection.createChannel(done)));
    proxy.cut();
    await new Promise((resolve) => connection.once('close', resolve));
    for (const open of ['createChannel', 'createConfirmChannel'] as const) {
      const error = await new Promise<Error>((resolve) => connection[open]((refusal) => resolve(refusal)));
      expect(error.message).to.match(/^Connection closed/);
    }
  });

  it('ends with the connection, for the connection itself', async () => {
    proxy.stall();
    const closed = closeQuietly(connection);
    await pause(50);
    proxy.cut();
    expect(await Promise.race([closed.then(() => 'ended'), pause(2_000)])).to.equal('ended');
  });
});
