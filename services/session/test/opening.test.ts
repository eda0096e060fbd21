import { randomUUID } from 'node:crypto';
import { type RunningService, start } from '@warren/chassis';
import { sessionOpened } from '@warren/contracts';
import { parseEvent } from '@warren/events';
import { client, eventually, withBroker, withDatabase, withReplicas } from '@warren/testkit';
import { expect } from 'chai';
import { service } from '../src/service.ts';
import { signUpOf } from './events.ts';

describe('opening sessions', () => {
  const broker = withBroker({ services: ['session'] });
  const database = withDatabase();
  const replicas = withReplicas((env) => start(service, env), { name: 'session', broker, database });
  let session: RunningService;
  let http: ReturnType<typeof client>;

  const sessionsOf = async (userId: string) => (await http.get(`/sessions?userId=${userId}`)).body.items;
  const opened = (userId: string) =>
    eventually(async () => {
      const items = await sessionsOf(userId);
      expect(items).to.have.length(1);
      return items[0];
    });

  before(async () => {
    session = await replicas.start();
    http = client(session.url);
  });

  it('opens a session of 24 hours for a sign-up', async () => {
    const { userId, published } = signUpOf();
    await broker.publish(...published);
    const found = await opened(userId);
    expect(found).to.have.all.keys('id', 'userId', 'status', 'openedAt', 'expiresAt');
    expect(found).to.include({ userId, status: 'active' });
    expect(Date.parse(found.expiresAt) - Date.parse(found.openedAt)).to.equal(24 * 60 * 60 * 1000);
    expect((await http.get(`/sessions/${found.id}`)).body).to.deep.equal(found);
  });

  it('publishes session.opened once, with the correlation id of the sign-up', async () => {
    const probe = await broker.probe('events', 'session.#');
    const { userId, event, published } = signUpOf();
    await broker.publish(...published);
    const [message] = await probe.waitFor(({ content }) => content.includes(userId));
    const answer = parseEvent(message!.content, [sessionOpened]);
    const found = await opened(userId);
    expect(answer.data).to.deep.equal({ sessionId: found.id, userId, expiresAt: found.expiresAt });
    expect(answer).to.include({ source: '/session', subject: found.id, correlationid: event.correlationid });
  });

  it('opens one session for 1,000 deliveries of the same event', async () => {
    const probe = await broker.probe('events', 'session.#');
    const { userId, published } = signUpOf();
    const last = signUpOf();
    await Promise.all(Array.from({ length: 1000 }, () => broker.publish(...published)));
    await broker.publish(...last.published);

    await probe.waitFor(({ content }) => content.includes(last.userId), { timeout: 30_000 });
    await eventually(async () => {
      const { text } = await client(session.adminUrl).get('/metrics');
      expect(text).to.match(
        /events_consumed_total\{(?=[^}]*queue="session.user.created")(?=[^}]*outcome="duplicate")[^}]*\} 999\b/,
      );
    });
    expect(await sessionsOf(userId)).to.have.length(1);
    expect(probe.events.filter(({ content }) => content.includes(userId))).to.have.length(1);
  });

  it('opens one session for two events about the same sign-up', async () => {
    const userId = randomUUID();
    const last = signUpOf();
    const probe = await broker.probe('events', 'session.#');
    await broker.publish(...signUpOf(userId).published);
    await broker.publish(...signUpOf(userId).published);
    await broker.publish(...last.published);
    await opened(last.userId);
    await probe.waitFor(({ content }) => content.includes(last.userId));
    expect(await sessionsOf(userId)).to.have.length(1);
    expect(probe.events.filter(({ content }) => content.includes(userId))).to.have.length(1);
  });

  it('opens a session for each of many sign-ups, in any order', async () => {
    const signUps = Array.from({ length: 200 }, () => signUpOf());
    await Promise.all(signUps.toReversed().map(({ published }) => broker.publish(...published)));
    for (const { userId } of signUps) await opened(userId);
  });

  it('dead-letters an invalid message with the reason, and handles the next', async () => {
    const { userId, published } = signUpOf();
    await broker.publish('events', 'user.created.v1', Buffer.from('{"name":'), { messageId: randomUUID() });
    await broker.publish(...published);
    await opened(userId);
    const dead = await eventually(async () => {
      const [message] = await broker.get('session.user.created.dlq');
      return message ?? false;
    });
    expect(dead.content.toString()).to.equal('{"name":');
    expect(dead.properties.headers).to.have.property('x-warren-reason');
  });
});
