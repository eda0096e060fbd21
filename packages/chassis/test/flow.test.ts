import { buildEvent } from '@warren/events';
import { eventually, withBroker, withDatabase } from '@warren/testkit';
import { connect } from 'amqplib';
import { expect } from 'chai';
import { newId } from '../src/id.ts';
import type { ServiceDescription } from '../src/service/definition.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { alpha, listener, written } from './fixtures/services.ts';

describe('one event, from a request to another service', () => {
  const broker = withBroker({ services: ['alpha', 'beta', 'gamma'] });
  const databases = { alpha: withDatabase(), beta: withDatabase(), gamma: withDatabase() };
  const running: RunningService[] = [];

  const launch = async (service: ServiceDescription, env: Record<string, string> = {}) => {
    const name = service.name as keyof typeof databases;
    const started = await start(service, {
      PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: process.env.LOG_LEVEL ?? 'silent',
      AMQP_URL: broker.url(name),
      DATABASE_URL: databases[name].url,
      RETRY_DELAYS: '100ms,200ms,300ms',
      ...env,
    });
    running.push(started);
    return started;
  };
  const write = (service: RunningService, id: string, text = 'x') =>
    fetch(`${service.url}/notes`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-correlation-id': 'from-the-test' },
      body: JSON.stringify({ id, text }),
    });
  const heardBy = async (name: 'beta' | 'gamma', noteId: string) =>
    (
      await databases[name].admin<{ n: number }>('select count(*)::int n from heard where note_id = $1', [
        noteId,
      ])
    )[0]?.n;

  afterEach(async () => {
    await Promise.all(running.splice(0).map((service) => service.stop()));
  });

  it('arrives once at every service that subscribes, with the documented properties', async () => {
    const probe = await broker.probe('events');
    const beta = await launch(listener('beta'));
    const gamma = await launch(listener('gamma'));
    await eventually(() => expect(beta.ready() && gamma.ready()).to.equal(true));
    const service = await launch(alpha);
    const id = newId();

    expect((await write(service, id)).status).to.equal(201);

    await eventually(async () => {
      expect(await heardBy('beta', id)).to.equal(1);
      expect(await heardBy('gamma', id)).to.equal(1);
    });
    const [event] = await probe.waitFor({ type: 'alpha.written' });
    expect(event?.routingKey).to.equal('alpha.written.v1');
    expect(event?.body).to.deep.include({
      specversion: '1.0',
      source: '/alpha',
      type: 'alpha.written',
      subject: id,
    });
    expect(event?.properties).to.deep.include({
      messageId: event?.body.id,
      type: 'alpha.written',
      appId: 'alpha',
      correlationId: 'from-the-test',
      deliveryMode: 2,
      contentType: 'application/cloudevents+json',
    });
    expect(event?.properties.timestamp).to.be.closeTo(Date.now() / 1000, 60);
    await eventually(async () =>
      expect(await databases.alpha.admin('select * from warren.outbox')).to.have.length(0),
    );
  });

  it('climbs the retry ladder when handling fails, and is handled when the handler succeeds', async () => {
    const attempts: number[] = [];
    const flaky = listener('beta', async (event, { transaction }) => {
      attempts.push(Date.now());
      await transaction
        .insertInto('heard')
        .values({ event_id: event.id, note_id: event.data.noteId })
        .execute();
      if (attempts.length <= 3) throw new Error('not yet');
    });
    const beta = await launch(flaky);
    const gamma = await launch(listener('gamma'));
    await eventually(() => expect(beta.ready() && gamma.ready()).to.equal(true));
    const service = await launch(alpha);
    const id = newId();

    await write(service, id);

    await eventually(async () => expect(await heardBy('beta', id)).to.equal(1));
    expect(attempts).to.have.length(4);
    const waits = attempts.slice(1).map((at, i) => at - (attempts[i] as number));
    for (const [i, least] of [80, 160, 240].entries()) expect(waits[i]).to.be.at.least(least);
    expect(await heardBy('gamma', id), 'the other service').to.equal(1);
    expect(await broker.queueDepth('beta.alpha.written.dlq')).to.equal(0);
  });

  it('ends in the dead-letter queue, byte for byte, when it fails at every step', async () => {
    const beta = await launch(
      listener('beta', async () => {
        throw new Error('never');
      }),
    );
    await eventually(() => expect(beta.ready()).to.equal(true));
    const noteId = newId();
    const content = JSON.stringify(
      buildEvent(written, { id: newId(), source: '/alpha', time: new Date(), data: { noteId, text: 'ü' } }),
      undefined,
      3,
    );

    await broker.publish('events', 'alpha.written.v1', content, {
      messageId: 'm-1',
      headers: { theirs: 'kept' },
    });

    await eventually(async () => expect(await broker.queueDepth('beta.alpha.written.dlq')).to.equal(1));
    const [dead] = await broker.get('beta.alpha.written.dlq', { remove: true });
    expect(dead?.content.toString()).to.equal(content);
    expect(dead?.properties.messageId).to.equal('m-1');
    expect(dead?.properties.headers).to.deep.include({
      theirs: 'kept',
      'x-warren-attempts': 4,
      'x-warren-reason': 'handler_failed',
      'x-warren-error': 'never',
      'x-warren-queue': 'beta.alpha.written',
      'x-warren-exchange': 'events',
      'x-warren-routing-key': 'alpha.written.v1',
    });
    const { 'x-warren-first-failed-at': first, 'x-warren-last-failed-at': last } =
      dead?.properties.headers ?? {};
    expect(Date.parse(last) - Date.parse(first)).to.be.within(480, 10_000);
  });

  it('waits for its retry ladder, rather than skip it, when somebody deleted that', async () => {
    const admin = await connect(broker.adminUrl);
    const channel = await admin.createChannel();
    let attempts = 0;
    await launch(
      listener('beta', async (event, { transaction }) => {
        attempts += 1;
        if (attempts === 1) {
          await channel.deleteExchange('beta.retry');
          throw new Error('not yet');
        }
        await transaction
          .insertInto('heard')
          .values({ event_id: event.id, note_id: event.data.noteId })
          .execute();
      }),
    );
    const service = await launch(alpha);
    const id = newId();

    await write(service, id);

    await eventually(async () => expect(await heardBy('beta', id)).to.equal(1), { timeout: 60_000 });
    expect(attempts).to.be.at.least(2);
    await channel.checkExchange('beta.retry');
    expect(await broker.queueDepth('beta.alpha.written.dlq')).to.equal(0);
    await admin.close();
  }).timeout(90_000);
});
