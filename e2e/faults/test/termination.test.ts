import { connect, type Socket } from 'node:net';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import pg from 'pg';
import {
  type Attempt,
  createClient,
  figure,
  isProblem,
  openTcpProxy,
  type Replica,
  signUpOnce,
  type TcpProxy,
  withSystem,
} from '../../support/src/index.ts';

/** ms that a process may take to end, where nothing holds it up: well below any grace, also on a busy machine. */
const PROMPT = 10_000;

describe('SIGTERM', () => {
  const system = withSystem();
  const client = createClient();
  const proxies: TcpProxy[] = [];

  after(async () => {
    client.close();
    for (const proxy of proxies) await proxy.close();
  });

  afterEach('nothing runs on into the next test', () => system.end('SIGKILL'));

  /** Ends a replica; its exit code, and how long that took, ms. */
  const terminate = async (replica: Replica) => {
    const begun = performance.now();
    const code = await replica.end('SIGTERM');
    return { code, ms: performance.now() - begun };
  };
  const signUp = (replica: Replica, id: string) =>
    signUpOnce(client, system.ledger, replica.url, { id: `term-${id}`, key: `term-${id}` });
  const draining = (replica: Replica) =>
    eventually(async () => expect((await replica.readyz()).body.status).to.equal('draining'), {
      interval: 10,
    });
  const proxyTo = async (url: string) => {
    const proxy = await openTcpProxy(url);
    proxies.push(proxy);
    return proxy;
  };

  describe('with another replica beside it', () => {
    it('loses no request and no event when a replica stops, when clients observe /readyz', async function () {
      this.timeout(120_000);
      const env = { DRAIN_DELAY: '1' };
      const users = [await system.run('user', env), await system.run('user', env)];
      const sessions = [await system.run('session', env), await system.run('session', env)];
      let ready = users;
      let watching = true;
      const balancer = (async () => {
        while (watching) {
          const states = await Promise.all(users.map((each) => each.readyz().catch(() => ({ status: 0 }))));
          ready = users.filter((_, i) => states[i]?.status === 200);
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
      })();
      const load = system.load({ rate: 20, seed: 61, targets: () => ready.map(({ url }) => url), keyed: 0 });
      await eventually(() => load.signUps.length > 20);

      for (const replica of [users[0], sessions[0], users[1], sessions[1]] as Replica[]) {
        const { code, ms } = await terminate(replica);
        expect(code, `exit code of a ${replica.service}`).to.equal(0);
        expect(ms).to.be.within(1_000, 1_000 + PROMPT);
        figure(`${replica.service} ended after its DRAIN_DELAY and`, ms - 1_000, 'ms');
        replica.start();
        await replica.ready();
        const count = load.signUps.length;
        await eventually(() => load.signUps.length > count + 20);
      }
      await load.stop();
      watching = false;
      await balancer;

      expect(outcomes(load.signUps.flatMap(({ attempts }) => attempts))).to.deep.equal({
        201: load.signUps.length,
      });
      await system.accounts({ end: true });
    });
  });

  describe('without another replica', () => {
    it('responds to every request that it has read, and refuses later connections', async function () {
      this.timeout(60_000);
      const session = await system.run('session');
      const user = await system.run('user');
      const load = system.load({ rate: 40, seed: 62, targets: () => [user.url] });
      const read = new Map<string, number>();
      const note = () => {
        for (const { msg, correlationId } of user.process.logs)
          if (msg === 'request') read.set(correlationId, (read.get(correlationId) ?? 0) + 1);
      };
      for (let round = 0; round < 3; round += 1) {
        const count = load.signUps.length;
        await eventually(() => load.signUps.length > count + 40);
        const { code, ms } = await terminate(user);
        expect(code).to.equal(0);
        expect(ms).to.be.below(PROMPT);
        note();
        user.start();
        await user.ready();
      }
      await load.stop();
      expect(await terminate(user)).to.include({ code: 0 });
      note();

      for (const { correlationId, attempts } of load.signUps) {
        const answers = attempts.filter(({ answer }) => answer !== undefined).length;
        expect(answers, `answers to ${correlationId}, against requests read`).to.equal(
          read.get(correlationId),
        );
      }
      const attempts = load.signUps.flatMap(({ attempts }) => attempts);
      const failed = attempts.filter(({ error }) => error !== undefined);
      const refused = failed.filter(
        ({ error }) => error?.fresh && /ECONNREFUSED|ECONNRESET/.test(error.code ?? ''),
      );
      // A request may cross the end of a connection that was idle on its way; HTTP/1.1 knows no remedy but to repeat it.
      const crossed = failed.filter(({ error }) => !error?.fresh && error?.code === 'ECONNRESET');
      figure('connections refused meanwhile', refused.length);
      figure('requests that crossed the end of an idle connection', crossed.length);
      expect(failed.length).to.equal(refused.length + crossed.length);
      expect(outcomes(attempts.filter((attempt) => !failed.includes(attempt)))).to.deep.equal({
        201: load.signUps.length,
      });
      expect(await terminate(session)).to.include({ code: 0 });
      await system.accounts();
    });

    it('closes keep-alive connections: with their next response, or when they are idle', async () => {
      const user = await system.run('user', { DRAIN_DELAY: '1' });
      const [idle, busy] = [await keptAlive(user.url), await keptAlive(user.url)];
      expect(await idle.get('/users?limit=1')).to.match(/^HTTP\/1.1 200/);
      expect(await busy.get('/users?limit=1')).to.match(/Connection: keep-alive/i);

      const ending = terminate(user);
      await draining(user);
      expect(await busy.get('/users?limit=1'), 'while it is only not ready').to.match(
        /^HTTP\/1.1 200.*Connection: close/is,
      );
      const { code, ms } = await ending;
      expect(code).to.equal(0);
      expect(ms).to.be.below(1_000 + PROMPT);
      await Promise.all([idle.ended, busy.ended]);
    });

    it('sent twice ends the process at once', async () => {
      const user = await system.run('user', { DRAIN_DELAY: '20' });
      user.process.signal('SIGTERM');
      await draining(user);
      const { code, ms } = await terminate(user);
      expect(code).to.equal(143);
      expect(ms, 'against a DRAIN_DELAY of 20,000').to.be.below(PROMPT);
    });

    it('during the wait for the database at the start ends the process at once', async () => {
      const proxy = await proxyTo(system.databaseUrl('user'));
      await proxy.cut();
      const user = await system.replica('user', { DATABASE_URL: proxy.url });
      user.start();
      await eventually(() => user.process.logs.some(({ msg }) => /database unavailable/.test(msg)));
      expect((await user.readyz()).status).to.equal(503);
      const { code, ms } = await terminate(user);
      expect(code).to.equal(0);
      expect(ms).to.be.below(PROMPT);
    });
  });

  describe('with work in flight', () => {
    /** A transaction that keeps others out of a table until it is released. */
    const lock = async (service: 'user' | 'session', table: string) => {
      const admin = new pg.Client({ connectionString: system.adminUrl(service) });
      admin.on('error', () => {});
      await admin.connect();
      await admin.query(`begin; lock table ${table} in access exclusive mode`);
      return {
        /** Resolves when somebody waits for it. */
        awaited: () =>
          eventually(async () => {
            const waiting = await system.sql(
              service,
              `select 1 from pg_locks where not granted and relation = '${table}'::regclass`,
            );
            expect(waiting).not.to.have.length(0);
          }),
        release: () => admin.end(),
      };
    };

    it('waits for a slow request, and responds to it', async () => {
      const user = await system.run('user');
      await system.run('session');
      const slow = await lock('user', 'users');
      const answer = signUp(user, 'slow');
      await slow.awaited();
      const ending = terminate(user);
      await draining(user);
      // Of what needs no table: one that is let in just before the door is closed must not wait for the lock.
      await eventually(() =>
        client.send('GET', `${user.url}/nothing`).then(
          () => false,
          ({ code }) => code === 'ECONNREFUSED',
        ),
      );
      expect(user.running).to.equal(true);
      await slow.release();
      expect((await answer).attempts.map((attempt) => attempt.answer?.status)).to.deep.equal([201]);
      expect(await ending).to.include({ code: 0 });
      await system.accounts({ end: true });
    });

    it('aborts a request at its deadline, within the grace period', async () => {
      const user = await system.run('user', { REQUEST_TIMEOUT: '2s' });
      const slow = await lock('user', 'users');
      const answer = client.send('POST', `${user.url}/users`, {
        body: { name: 'Late', email: 'late@example.com' },
      });
      await slow.awaited();
      const { code, ms } = await terminate(user);
      expect(isProblem(await answer, 503)).to.equal(true);
      expect(code).to.equal(0);
      expect(ms).to.be.below(2_000 + PROMPT);
      await slow.release();
    });

    it('waits for a slow handler, whose event is then handled and not redelivered', async () => {
      const user = await system.run('user');
      const session = await system.run('session');
      const slow = await lock('session', 'sessions');
      await signUp(user, 'slow-handler');
      await slow.awaited();
      const ending = terminate(session);
      await draining(session);
      expect(session.running).to.equal(true);
      await slow.release();
      expect(await ending).to.include({ code: 0 });
      expect(await terminate(user)).to.include({ code: 0 });
      await system.accounts();
    });

    it('aborts a handler that exceeds the grace period, and logs it; another process handles the event', async function () {
      this.timeout(60_000);
      const user = await system.run('user');
      const session = await system.run('session', { SHUTDOWN_GRACE: '3' });
      const slow = await lock('session', 'sessions');
      await signUp(user, 'slower');
      await slow.awaited();
      const { code, ms } = await terminate(session);
      expect(ms, 'against a grace of 3,000').to.be.below(3_000 + PROMPT);
      expect(code).to.equal(1);
      expect(session.process.logs.some(({ msg }) => /SHUTDOWN_GRACE/.test(msg))).to.equal(true);
      await slow.release();
      session.start();
      await system.accounts({ end: true });
    });
  });

  for (const [what, away] of [
    ['refuses connections', 'cut'],
    ['says nothing any more', 'freeze'],
  ] as const) {
    it(`while the broker ${what} ends within the grace period, and the events are published later`, async function () {
      this.timeout(60_000);
      const env = { SHUTDOWN_GRACE: '8' };
      const lines = {
        user: await proxyTo(system.broker.url('user')),
        session: await proxyTo(system.broker.url('session')),
      };
      const user = await system.run('user', { ...env, AMQP_URL: lines.user.url });
      const session = await system.run('session', { ...env, AMQP_URL: lines.session.url });
      const load = system.load({ rate: 20, seed: away === 'cut' ? 63 : 64, targets: () => [user.url] });
      await eventually(() => load.signUps.length > 20);
      for (const line of [lines.user, lines.session]) await line[away]();
      const count = load.signUps.length;
      await eventually(() => load.signUps.length > count + 40);
      await load.stop();
      expect(outcomes(load.signUps.flatMap(({ attempts }) => attempts))).to.deep.equal({
        201: load.signUps.length,
      });

      for (const ended of await Promise.all([terminate(user), terminate(session)])) {
        expect(ended.ms, 'against a grace of 8,000').to.be.below(8_000 + PROMPT);
        expect(ended.code).to.equal(0);
        figure('ended after', ended.ms, 'ms');
      }
      for (const line of [lines.user, lines.session]) await line.restore();
      user.start();
      session.start();
      await system.accounts({ duplicates: true, end: true });
    });

    it(`while the database ${what} ends within the grace period`, async function () {
      this.timeout(60_000);
      const env = { SHUTDOWN_GRACE: '8', REQUEST_TIMEOUT: '3s' };
      const lines = {
        user: await proxyTo(system.databaseUrl('user')),
        session: await proxyTo(system.databaseUrl('session')),
      };
      const user = await system.run('user', { ...env, DATABASE_URL: lines.user.url });
      const session = await system.run('session', { ...env, DATABASE_URL: lines.session.url });
      const load = system.load({ rate: 20, seed: away === 'cut' ? 65 : 66, targets: () => [user.url] });
      await eventually(() => load.signUps.length > 20);
      for (const line of [lines.user, lines.session]) await line[away]();
      const count = load.signUps.length;
      await eventually(() => load.signUps.length > count + 40);

      for (const ended of await Promise.all([terminate(user), terminate(session)])) {
        expect(ended.ms, 'against a grace of 8,000').to.be.below(8_000 + PROMPT);
        figure(`ended with ${ended.code} after`, ended.ms, 'ms');
        if (away === 'cut') expect(ended.code).to.equal(0);
      }
      for (const line of [lines.user, lines.session]) await line.restore();
      user.start();
      session.start();
      await load.stop();
      await system.accounts({ duplicates: true, end: true });
    });
  }
});

/** How often each answer or error came. */
function outcomes(attempts: Attempt[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { answer, error } of attempts) {
    const outcome =
      error === undefined
        ? `${answer?.status}`
        : `${error.code ?? error.message}, ${error.fresh ? 'new' : 'kept alive'}`;
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  }
  return counts;
}

/** One connection by hand: requests one after the other, and when it ends. */
async function keptAlive(url: string): Promise<{ get(path: string): Promise<string>; ended: Promise<void> }> {
  const { hostname, port } = new URL(url);
  const socket: Socket = connect({ host: hostname, port: Number(port) });
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  socket.on('error', () => {});
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  return {
    ended,
    get: (path) =>
      new Promise((resolve, reject) => {
        let text = '';
        const read = (chunk: Buffer) => {
          text += chunk;
          const [, length] = /content-length: (\d+)/i.exec(text) ?? [];
          const head = text.indexOf('\r\n\r\n');
          if (length === undefined || head < 0 || text.length < head + 4 + Number(length)) return;
          socket.off('data', read);
          resolve(text);
        };
        socket.on('data', read);
        socket.once('close', () => reject(new Error(`closed after ${text.length} characters`)));
        socket.write(`GET ${path} HTTP/1.1\r\nHost: here\r\n\r\n`);
      }),
  };
}
