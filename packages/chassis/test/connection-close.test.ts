import { buildEvent } from '@warren/events';
import { eventually, withBroker, withDatabase } from '@warren/testkit';
import { connect } from 'amqplib';
import { expect } from 'chai';
import { pause } from '../src/concurrency.ts';
import { newId } from '../src/id.ts';
import { Messaging } from '../src/messaging/connection.ts';
import { rascalConfig } from '../src/messaging/topology.ts';
import { start } from '../src/service/start.ts';
import { createLog } from '../src/telemetry/index.ts';
import { hear, listener, written } from './fixtures/services.ts';

/** ms of Rascal's own timer, which holds the process while a broker is open. */
const KEEP_ACTIVE = 2 ** 31 - 1;

describe('a connection that is closed while it opens', function () {
  this.timeout(120_000);
  const broker = withBroker({ services: ['alpha'] });

  it('leaves no timer behind that keeps the process alive, at any moment of opening', async () => {
    const timers = new Set<unknown>();
    const { setInterval, clearInterval } = globalThis;
    globalThis.setInterval = ((run: () => void, ms?: number) => {
      const timer = setInterval(run, ms);
      if (ms === KEEP_ACTIVE) timers.add(timer);
      return timer;
    }) as typeof setInterval;
    globalThis.clearInterval = (timer) => {
      timers.delete(timer);
      clearInterval(timer);
    };
    let opened = 0;
    try {
      for (let delay = 0; delay < 200; delay += 1) {
        const messaging = new Messaging({
          url: broker.url('alpha'),
          name: `alpha ${delay}`,
          config: () => rascalConfig({ service: 'alpha', vhosts: { publish: {} } }),
          log: createLog({ service: 'alpha', version: '1', level: 'silent' }),
        });
        messaging.start();
        await pause(delay / 2);
        if (timers.size > 0) opened += 1;
        await messaging.close();
      }
      await pause(500);
      expect(opened, 'closed when Rascal had its connections').to.be.above(0);
      expect(timers.size, 'timers left').to.equal(0);
    } finally {
      globalThis.setInterval = setInterval;
      globalThis.clearInterval = clearInterval;
    }
  });
});

describe('a service that has stopped', () => {
  const broker = withBroker({ services: ['alpha', 'beta'] });
  const database = withDatabase();
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const publish = () => {
    const data = { noteId: newId(), text: 'x' };
    const event = buildEvent(written, { id: newId(), source: '/alpha', time: new Date(), data });
    return broker.publish('events', written.routingKey, JSON.stringify(event));
  };
  const launch = async (handler = hear) => {
    const beta = await start(listener('beta', handler), {
      PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: 'silent',
      AMQP_URL: broker.url('beta'),
      DATABASE_URL: database.url,
    });
    await eventually(() => expect(beta.ready()).to.equal(true));
    return beta;
  };

  before(publish); // to nobody; but the connection of the testkit, which has timers, is open from now on

  it('leaves no timer behind that keeps the process alive', async () => {
    await pause(0); // Mocha's own timer begins after a test has returned its promise
    const before = timers();
    const beta = await launch();

    expect(await beta.stop()).to.equal(true);

    expect(timers()).to.equal(before);
  });

  it('leaves no timer behind after a failed message could not be published and its connection was lost', async () => {
    await pause(0);
    const before = timers();
    const admin = await connect(broker.adminUrl);
    const channel = await admin.createChannel();
    let attempts = 0;
    const beta = await launch(async (event, work) => {
      attempts += 1;
      if (attempts > 1) return hear(event, work);
      await channel.deleteExchange('beta.retry');
      throw new Error('not yet');
    });
    await publish();
    await eventually(async () => expect(await database.admin('select * from heard')).to.have.length(1));

    expect(await beta.stop()).to.equal(true);

    await admin.close();
    expect(timers()).to.equal(before);
  });
});
