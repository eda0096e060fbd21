import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import {
  createClient,
  figure,
  percentile,
  type Replica,
  type SignUp,
  signUpOnce,
  withSystem,
} from '../../support/src/index.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';

describe('a sign-up', () => {
  const system = withSystem({ auth: true });
  const client = createClient(system.authorize);
  let user: Replica;
  let session: Replica;

  before('the services', async function () {
    this.timeout(60_000);
    session = await system.run('session');
    user = await system.run('user');
  });
  after(() => client.close());

  const sessionsOf = async (userId: string) =>
    (await client.send('GET', `${session.url}/sessions?userId=${userId}`)).body.items;
  const sessionOf = (userId: string) =>
    eventually(async () => {
      const items = await sessionsOf(userId);
      expect(items).to.have.length(1);
      return items[0];
    });

  for (const path of ['/users', '/users/save', '/create_user']) {
    it(`by POST ${path} opens a session in the other service`, async () => {
      const { user: ada, attempts } = await signUpOnce(client, system.ledger, user.url, {
        id: `ada${path.replaceAll('/', '-')}`,
        path,
      });
      const answer = attempts[0]?.answer;
      expect(answer?.status).to.equal(201);
      expect(answer?.headers.location).to.equal(`/users/${ada?.id}`);
      expect((await client.send('GET', `${user.url}${answer?.headers.location}`)).body).to.deep.equal(ada);

      const opened = await sessionOf(ada?.id as string);
      expect(opened).to.include({ userId: ada?.id, status: 'active' });
      expect(Date.parse(opened.expiresAt) - Date.parse(opened.openedAt)).to.equal(24 * 3_600_000);
      expect((await client.send('GET', `${session.url}/sessions/${opened.id}`)).body).to.deep.equal(opened);
    });
  }

  it('carries its correlation id and its trace through answer, event, AMQP properties and the event of the session', async () => {
    const probe = await system.broker.probe('events');
    const { user: ada, attempts } = await signUpOnce(client, system.ledger, user.url, {
      id: 'traced',
      headers: { 'x-correlation-id': 'of-the-client-7', traceparent: `00-${TRACE}-00f067aa0ba902b7-01` },
    });
    expect(attempts[0]?.answer?.headers['x-correlation-id']).to.equal('of-the-client-7');
    const [created] = await probe.waitFor(
      (event) => event.body.data.userId === ada?.id && event.body.type === 'user.created',
    );
    const [opened] = await probe.waitFor(
      (event) => event.body.data.userId === ada?.id && event.body.type === 'session.opened',
    );
    await probe.close();

    expect(created?.body).to.deep.include({
      specversion: '1.0',
      source: '/user',
      type: 'user.created',
      subject: ada?.id,
      correlationid: 'of-the-client-7',
      data: { userId: ada?.id, name: ada?.name, email: ada?.email },
    });
    expect(opened?.body).to.deep.include({
      source: '/session',
      type: 'session.opened',
      correlationid: 'of-the-client-7',
    });
    for (const event of [created, opened]) {
      expect(event?.properties).to.deep.include({
        messageId: event?.body.id,
        type: event?.body.type,
        appId: event?.body.source.slice(1),
        correlationId: 'of-the-client-7',
        contentType: 'application/cloudevents+json',
        deliveryMode: 2,
      });
      expect(event?.body.traceparent, `traceparent of ${event?.body.type}`).to.match(
        new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`),
      );
      expect(event?.properties.headers?.traceparent).to.equal(event?.body.traceparent);
    }
    expect(opened?.body.data.sessionId).to.equal((await sessionOf(ada?.id as string)).id);
    for (const { process } of [user, session]) {
      await eventually(() => {
        expect(
          process.logs.find(({ correlationId }) => correlationId === 'of-the-client-7')?.traceId,
        ).to.equal(TRACE);
      });
    }
  });

  it('that is repeated with its Idempotency-Key, on any path and concurrently, creates one user and one session', async () => {
    const paths = ['/users', '/users/save', '/create_user'];
    const body = { name: 'Grace', email: 'grace@example.com' };
    const send = (path: string, more = {}) =>
      client.send('POST', `${user.url}${path}`, {
        body: { ...body, ...more },
        headers: { 'idempotency-key': 'grace-1' },
      });

    const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => send(paths[i % 3] as string)));
    const late = await send('/users');

    expect(new Set(answers.map(({ status }) => status))).to.deep.equal(new Set([201]));
    const ids = new Set([...answers, late].map((answer) => answer.body.id));
    expect(ids.size).to.equal(1);
    expect(answers.filter(({ headers }) => headers['idempotency-replayed'] === undefined)).to.have.length(1);
    expect(late.headers['idempotency-replayed']).to.equal('true');
    expect((await send('/users', { name: 'Another' })).status, 'another body under the same key').to.equal(
      422,
    );
    system.ledger.push({
      ...body,
      path: '/users',
      user: late.body,
      attempts: [],
      correlationId: answers.find(({ headers }) => headers['idempotency-replayed'] === undefined)?.headers[
        'x-correlation-id'
      ] as string,
    });
    await sessionOf([...ids][0] as string);
  });

  it('that is refused stores nothing', async () => {
    for (const body of [
      { name: 'No address' },
      { name: '', email: 'x@example.com' },
      { name: 'X', email: 'no address' },
    ]) {
      expect((await client.send('POST', `${user.url}/users`, { body })).status).to.equal(400);
    }
    const again = await client.send('POST', `${user.url}/users`, {
      body: { name: 'G', email: 'Grace@example.com' },
    });
    expect(again.status).to.equal(409);
    await system.accounts();
  });

  it('opens its session within milliseconds, at 20 sign-ups per second', async function () {
    this.timeout(60_000);
    const load = system.load({ rate: 20, seed: 11, targets: () => [user.url], keyed: 0.5 });
    await eventually(() => load.signUps.length >= 100, { timeout: 30_000 });
    const signUps = await load.stop();
    expect(signUps.flatMap(({ attempts }) => attempts.map(({ answer }) => answer?.status))).to.deep.equal(
      signUps.map(() => 201),
    );
    await system.accounts();

    const rows = await system.sql<{ user_id: string; opened_at: Date }>(
      'session',
      'select user_id, opened_at from sessions',
    );
    const openedAt = new Map(rows.map((row) => [row.user_id, row.opened_at.getTime()]));
    const delays = signUps.map(
      ({ user: made }) =>
        (openedAt.get(made?.id as string) as number) - Date.parse(made?.createdAt as string),
    );
    const latencies = signUps.flatMap(({ attempts }) => attempts.map(({ ms }) => ms));
    figure('answer, p50', percentile(latencies, 0.5), 'ms');
    figure('answer, p99', percentile(latencies, 0.99), 'ms');
    figure('from sign-up to session, p50', percentile(delays, 0.5), 'ms');
    figure('from sign-up to session, p99', percentile(delays, 0.99), 'ms');
  });

  it('passes the audit after the services have stopped', async function () {
    this.timeout(60_000);
    expect(await system.end()).to.deep.equal([0, 0]);
    await system.accounts();
  });

  it('fails the audit if it has no session, two events, or no client', async () => {
    const refusal = async () =>
      await system.accounts({ timeout: 200 }).then(
        () => 'no complaint',
        (error: Error) => error.message,
      );
    const one = system.ledger[0] as SignUp;
    await system.broker.publish('events', 'user.created.v1', {
      type: 'user.created',
      data: { userId: one.user?.id },
    });
    expect(await refusal()).to.match(/^messages in session.user.created: expected 1 to equal \+?0/);
    await system.broker.purge('session.user.created');
    expect(await refusal()).to.match(/^ids of events/);
    await system.sql('session', 'delete from sessions where user_id = $1', [one.user?.id]);
    expect(await refusal()).to.match(/^sessions: expected/);
    system.ledger.shift();
    expect(await refusal()).to.match(/^users: expected/);
    system.ledger.push({ ...one, user: undefined });
    expect(await refusal()).to.match(/^sign-ups without a 201: expected/);
  });
});
