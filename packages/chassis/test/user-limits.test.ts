// The process of a service opens connections and channels without end; its broker user may have only so many.
import { buildEvent } from '@warren/events';
import { eventually, platformDefinitions, withBroker, withDatabase } from '@warren/testkit';
import { type ChannelModel, connect } from 'amqplib';
import { expect } from 'chai';
import { newId } from '../src/id.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { listener, written } from './fixtures/services.ts';

const limits = { 'max-connections': 6, 'max-channels': 12 };
/** The broker counts a moment later than it opens: a fast client gets a few more. */
const ENOUGH = 200;

const { users = [], ...platform } = platformDefinitions(['alpha', 'beta', 'mallory']);
const definitions = { ...platform, users: users.map((user) => ({ ...user, limits })) };

describe('a user that has all connections or channels it may have', function () {
  this.timeout(60_000);
  const running: RunningService[] = [];
  const opened: ChannelModel[] = [];
  const closeAll = () => Promise.all(opened.splice(0).map((each) => each.close().catch(() => {})));
  after(() => Promise.all([closeAll(), ...running.map((service) => service.stop())]));
  const broker = withBroker({ services: ['alpha', 'beta', 'mallory'], definitions });
  const database = withDatabase();
  const another = withDatabase();

  const open = async () => {
    const connection = await connect(broker.url('mallory'));
    connection.on('error', () => {});
    opened.push(connection);
    return connection;
  };
  const startListener = async (name: string, url: string) => {
    const service = await start(listener(name), {
      ...{ PORT: '0', ADMIN_PORT: '0', LOG_LEVEL: 'silent' },
      ...{ AMQP_URL: broker.url(name), DATABASE_URL: url },
    });
    running.push(service);
    return service;
  };
  const isReady = (service: RunningService) =>
    eventually(() => expect(service.ready()).to.equal(true), { timeout: 30_000 });

  /** Alpha connects and publishes, and beta handles it. */
  const othersGoOn = async () => {
    await (await connect(broker.url('alpha'))).close();
    const id = newId();
    const data = { noteId: newId(), text: 'x' };
    const event = buildEvent(written, { id, source: '/alpha', time: new Date(), data });
    await broker.publish('events', written.routingKey, JSON.stringify(event), { messageId: id }, 'alpha');
    await eventually(
      async () =>
        expect(await database.admin('select 1 from heard where event_id = $1', [id])).to.have.length(1),
      { timeout: 30_000 },
    );
  };

  before('beta consumes', async () => isReady(await startListener('beta', database.url)));

  it('gets no further connection; others connect, publish and consume', async () => {
    let refusal: string | undefined;
    while (refusal === undefined && opened.length < ENOUGH)
      refusal = await open().then(
        () => undefined,
        ({ message }: Error) => message,
      );

    expect(refusal).to.match(/got <ConnectionClose/);
    expect(opened).to.have.length.at.least(limits['max-connections']);
    await othersGoOn();
  });

  it('keeps its service from connecting, which logs why, and is ready once a connection is free', async () => {
    const mallory = await startListener('mallory', another.url);
    const readyz = async () => (await fetch(`${mallory.adminUrl}/readyz`)).text();
    await eventually(
      async () =>
        expect(await readyz()).to.match(/user '[^']+\.mallory' .+ as many connections as it may have/),
      { timeout: 30_000 },
    );

    await closeAll();
    await isReady(mallory);
  });

  it('loses the connection on which it opens one channel too many; others go on', async () => {
    const connection = await eventually(open, { timeout: 30_000 });
    const { promise: lost, resolve } = Promise.withResolvers<Error>();
    connection.on('error', resolve);
    for (let n = 0; n < ENOUGH && opened.length > 0; n += 1)
      await connection.createChannel().catch(() => opened.splice(0));

    expect((await lost).message).to.match(/has reached the maximum allowed user limit/);
    await othersGoOn();
  });
});
