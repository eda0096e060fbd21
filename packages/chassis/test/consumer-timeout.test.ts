import { buildEvent } from '@warren/events';
import { eventually, openProxy, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { sql } from 'kysely';
import { newId } from '../src/id.ts';
import type { ServiceDescription } from '../src/service/definition.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { hear, listener, written } from './fixtures/services.ts';

/** A little more than the 30 s that a handler may take. */
const TOO_LONG = 33_000;

describe('an event whose handling takes too long', function () {
  this.timeout(120_000);
  after(async () => {
    await Promise.all(running.map((service) => service.stop()));
    await line?.close();
  });
  const broker = withBroker({ services: ['alpha', 'beta', 'gamma'] });
  const databases = { beta: withDatabase(), gamma: withDatabase() };
  const running: RunningService[] = [];
  let line: Awaited<ReturnType<typeof openProxy>> | undefined;

  const launch = async (service: ServiceDescription, databaseUrl: string) => {
    const started = await start(service, {
      PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: 'silent',
      AMQP_URL: broker.url(service.name),
      DATABASE_URL: databaseUrl,
      RETRY_DELAYS: '10m',
    });
    running.push(started);
    await eventually(() => expect(started.ready()).to.equal(true));
    return started;
  };
  const publish = () => {
    const data = { noteId: newId(), text: 'x' };
    const event = buildEvent(written, { id: newId(), source: '/alpha', time: new Date(), data });
    return broker.publish('events', written.routingKey, JSON.stringify(event));
  };
  const consumed = async ({ metrics }: RunningService, outcome: string) =>
    (await metrics.eventsConsumed.get()).values.find(({ labels }) => labels.outcome === outcome)?.value;

  it('waits in place when its database stops answering, and is retried later when its handler is slow', async () => {
    let slow = false;
    line = await openProxy(databases.beta.url);
    const silent = await launch(listener('beta'), line.url);
    const lazy = await launch(
      listener('gamma', async (event, work) => {
        if (slow) await sql`select pg_sleep(60)`.execute(work.transaction);
        await hear(event, work);
      }),
      databases.gamma.url,
    );
    // A connection that was in use a moment ago is what falls silent.
    await publish();
    for (const service of running)
      await eventually(async () => expect(await consumed(service, 'handled')).to.equal(1));

    slow = true;
    line.stall();
    const since = Date.now();
    await publish();

    await eventually(() => Date.now() - since > TOO_LONG, { timeout: 2 * TOO_LONG });
    await eventually(async () => expect(await consumed(lazy, 'retried')).to.equal(1));
    expect(await consumed(silent, 'retried')).to.equal(0);
    line.resume();
    line.cut();
    await eventually(async () => expect(await consumed(silent, 'handled')).to.equal(2), { timeout: 30_000 });
    expect(await consumed(silent, 'retried')).to.equal(0);
  });
});
