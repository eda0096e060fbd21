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

// What the chassis promises on an idle machine, ms. The tests print what they measure, and fail when something hangs.
const TAKEOVER = 2_000;
const BUSY = 100;
const IDLE = 1_000;
const HANGS = 10_000;

describe('two replicas of each service', () => {
  const system = withSystem();
  const client = createClient();
  let users: Replica[];
  let sessions: Replica[];

  before('the replicas', async function () {
    this.timeout(60_000);
    const started = await Promise.all(
      (['user', 'user', 'session', 'session'] as const).map((name) => system.run(name)),
    );
    users = started.slice(0, 2);
    sessions = started.slice(2);
  });
  after(() => client.close());

  /** Of these, the one whose relay publishes, and the one that stands by. */
  const roles = (replicas: Replica[]) =>
    eventually(async () => {
      const relays = await Promise.all(replicas.map(async (replica) => (await replica.readyz()).body.relay));
      expect([...relays].sort()).to.deep.equal(['active', 'standby']);
      return {
        active: replicas[relays.indexOf('active')] as Replica,
        standby: replicas[relays.indexOf('standby')] as Replica,
      };
    });
  const signUp = (replica: Replica, id: string) =>
    signUpOnce(client, system.ledger, replica.url, { id: `replicas-${id}`, key: `replicas-${id}` });

  /** ms from the answer to each sign-up until its event was on the exchange. */
  const delays = async (
    signUps: readonly SignUp[],
    probe: Awaited<ReturnType<typeof system.broker.probe>>,
  ) => {
    const at = (id: string) =>
      probe.events.find(({ body }) => body.type === 'user.created' && body.data.userId === id)?.at;
    await eventually(() => signUps.every(({ user }) => at(user?.id as string) !== undefined));
    return signUps.map(({ user, attempts }) => {
      const last = attempts.at(-1);
      return (at(user?.id as string) as number) - ((last?.at ?? 0) + (last?.ms ?? 0));
    });
  };

  it('publish every event once, and open every session once', async () => {
    const load = system.load({ rate: 20, seed: 71, targets: () => users.map(({ url }) => url), keyed: 0.5 });
    await eventually(() => load.signUps.length >= 150, { timeout: 60_000 });
    await load.stop();
    await system.accounts();
    for (const both of [users, sessions]) {
      const published = await Promise.all(
        both.map(({ metric }) => metric('events_published_total', { outcome: 'confirmed' })),
      );
      expect(
        published.sort((one, other) => one - other),
        'events, by replica',
      ).to.deep.equal([0, load.signUps.length]);
    }
    for (const { metric } of sessions) {
      expect(
        await metric('events_consumed_total', { outcome: 'handled' }),
        'each took its share',
      ).to.be.greaterThan(0);
    }
  });

  it(`publish within ${BUSY} ms what the replica without the relay commits, while events flow`, async () => {
    const { active, standby } = await roles(users);
    const probe = await system.broker.probe('events', 'user.#');
    const load = system.load({ rate: 20, seed: 72, targets: () => [active.url, standby.url] });
    await eventually(() => load.signUps.length >= 120, { timeout: 60_000 });
    const signUps = await load.stop();
    const byStandby = signUps.slice(20).filter(({ attempts }) => attempts[0]?.url === standby.url);
    const found = await delays(byStandby, probe);
    await probe.close();
    figure('sign-ups at the stand-by', found.length);
    figure('until their events were out, p50', percentile(found, 0.5), 'ms');
    figure('p99', percentile(found, 0.99), 'ms');
    expect(percentile(found, 0.99)).to.be.below(HANGS);
    await system.accounts();
  });

  it(`publish within ${IDLE} ms what it commits when nothing else happens`, async function () {
    this.timeout(60_000);
    const { standby } = await roles(users);
    const probe = await system.broker.probe('events', 'user.#');
    const signUps: SignUp[] = [];
    for (let i = 0; i < 4; i += 1) {
      const quietSince = Date.now();
      await eventually(() => Date.now() - quietSince > 3_500, { interval: 100 });
      signUps.push(await signUp(standby, `idle-${i}`));
      await delays(signUps, probe);
    }
    const found = await delays(signUps, probe);
    await probe.close();
    figure('until their events were out, longest of 4', Math.max(...found), 'ms');
    expect(Math.max(...found)).to.be.below(HANGS);
    await system.accounts();
  });

  for (const service of ['user', 'session'] as const) {
    it(`take over from a ${service} that is killed while it publishes, within ${TAKEOVER} ms`, async function () {
      this.timeout(60_000);
      const both = service === 'user' ? users : sessions;
      const { active, standby } = await roles(both);
      let up = users;
      const load = system.load({
        rate: 20,
        seed: service === 'user' ? 73 : 74,
        targets: () => up.map(({ url }) => url),
      });
      await eventually(() => load.signUps.length >= 40);

      const killed = performance.now();
      const ended = active.end('SIGKILL');
      up = up.filter((each) => each !== active);
      await ended;
      await eventually(async () => (await standby.readyz()).body.relay === 'active', { interval: 10 });
      const takeover = performance.now() - killed;
      const count = load.signUps.length;
      await eventually(() => load.signUps.length >= count + 20);
      await load.stop();
      figure('took over after', takeover, 'ms');
      expect(takeover).to.be.below(HANGS);
      const { duplicates } = await system.accounts({ duplicates: true });
      figure('events published twice', duplicates);

      active.start();
      await active.ready();
      await roles(both);
    });
  }

  it('all exit after SIGTERM, with no work left undone', async () => {
    await system.accounts({ end: true });
  });
});
