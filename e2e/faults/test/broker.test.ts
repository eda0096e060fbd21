import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import {
  type Attempt,
  createClient,
  figure,
  percentile,
  type Replica,
  ratio,
  signUpOnce,
  withSystem,
} from '../../support/src/index.ts';

/** ms without a broker */
const OUTAGE = 10_000;
const RATE = 20;

// One after the other on one broker, which takes seconds to start.
describe('without a broker', () => {
  const system = withSystem({ privateBroker: true });
  const client = createClient();
  let user: Replica;
  let session: Replica;

  before('addresses', async () => {
    user = await system.replica('user');
    session = await system.replica('session');
  });
  after(() => client.close());

  const signUp = (id: string) => signUpOnce(client, system.ledger, user.url, { id, key: id });
  const connected = (...replicas: Replica[]) =>
    eventually(
      async () => {
        for (const replica of replicas) expect(await replica.metric('broker_connected')).to.equal(1);
      },
      { timeout: 30_000 },
    );

  it('services that start for the first time serve requests; a consumer is not ready until its queues are declared', async function () {
    this.timeout(120_000);
    await system.broker.stop();
    session.start();
    user.start();
    await user.ready();
    await eventually(
      async () => (await client.send('GET', `${session.url}/sessions?userId=${NOBODY}`)).status === 200,
    );

    expect((await user.readyz()).body).to.include({ status: 'ready', broker: 'connecting' });
    const { status, body } = await session.readyz();
    expect(status).to.equal(503);
    expect(body.waitingFor).to.match(/queues/);
    const someone = await signUp('first');
    expect(someone.attempts[0]?.answer?.status).to.equal(201);
    expect(
      (await client.send('GET', `${session.url}/sessions?userId=${someone.user?.id}`)).body.items,
    ).to.deep.equal([]);

    // An event goes to the queues there are. The sign-up waits in its database, over a restart, until there is this one.
    expect(await user.end(), 'the exit code without a broker').to.equal(0);
    await system.broker.start();
    await session.ready();
    user.start();
    await connected(user, session);
    await system.accounts();
  });

  it('restarted services serve requests and are ready, and catch up when the broker comes up', async function () {
    this.timeout(120_000);
    expect(await system.end()).to.deep.equal([0, 0]);
    await system.broker.stop();
    session.start();
    user.start();
    await Promise.all([user.ready(), session.ready()]);
    for (const replica of [user, session]) {
      expect((await replica.readyz()).body).to.include({ status: 'ready', broker: 'connecting' });
      expect(await replica.metric('broker_connected')).to.equal(0);
    }
    for (let i = 0; i < 20; i += 1)
      expect((await signUp(`again-${i}`)).attempts[0]?.answer?.status).to.equal(201);
    const { user: known } = system.ledger[0] ?? {};
    const { body } = await client.send('GET', `${session.url}/sessions?userId=${known?.id}`);
    expect(body.items).to.have.length(1);

    const back = Date.now();
    await system.broker.start();
    const up = Date.now();
    await connected(user, session);
    figure('the broker took to start', up - back, 'ms');
    figure('from then to connected', Date.now() - up, 'ms');
    await system.accounts();
  });

  it(`for ${OUTAGE / 1_000} s under ${RATE} sign-ups a second, every sign-up returns 201, and then every user has one session`, async function () {
    this.timeout(240_000);
    const load = system.load({ rate: RATE, seed: 30, targets: () => [user.url], keyed: 0.5 });
    const all = () => load.signUps.flatMap(({ attempts }) => attempts);
    const answered = (from: number, to: number) => all().filter(({ at }) => at >= from && at < to);
    const readiness: { at: number; status: number }[] = [];
    const watch = async () => {
      for (const replica of [user, session])
        readiness.push({ at: Date.now(), status: (await replica.readyz()).status });
    };
    const until = (time: number) =>
      eventually(() => watch().then(() => Date.now() >= time), { timeout: 60_000, interval: 500 });

    const warm = Date.now() + 2_000;
    await until(warm);
    const stopping = Date.now() + 5_000;
    await until(stopping);
    await system.broker.stop();
    const away = Date.now();
    await eventually(async () => {
      for (const replica of [user, session]) expect(await replica.metric('broker_connected')).to.equal(0);
    });
    await until(away + OUTAGE);
    expect(await system.sql('user', 'select 1 from warren.outbox'), 'events that wait').to.have.length.above(
      (RATE * OUTAGE) / 2_000,
    );
    const back = Date.now();
    await system.broker.start();
    const up = Date.now();
    await connected(user, session);
    const reconnected = Date.now();
    await until(reconnected + 3_000);
    await load.stop();

    const outcomes = new Set(all().map(({ answer, error }) => error?.message ?? answer?.status));
    expect([...outcomes], 'answers').to.deep.equal([201]);
    expect(new Set(readiness.map(({ status }) => status)), '/readyz all the time').to.deep.equal(
      new Set([200]),
    );
    const { duplicates, settledAfter } = await system.accounts({
      duplicates: true,
      end: true,
      timeout: 60_000,
    });

    for (const { process, service } of [user, session]) {
      const said = (words: RegExp) =>
        process.logs.filter(({ msg, time }) => words.test(msg) && Date.parse(time) >= stopping);
      expect(said(/^broker unavailable/), `what ${service} says of the loss`).to.have.length(1);
      expect(said(/^broker recovered/), `what ${service} says of the return`).to.have.length(1);
    }

    const p99 = (attempts: Attempt[]) =>
      percentile(
        attempts.map(({ ms }) => ms),
        0.99,
      );
    const normal = answered(warm, stopping);
    const outage = answered(away, back);
    figure('sign-ups', load.signUps.length);
    figure('p99 with the broker', p99(normal), 'ms');
    figure('p99 without', p99(outage), 'ms');
    figure('p99 without / with', ratio(p99(outage), p99(normal)));
    figure('p99 while it starts', p99(answered(back, up)), 'ms');
    figure('from the broker being there to both connected', reconnected - up, 'ms');
    figure('settled after the last sign-up', settledAfter, 'ms');
    figure('events published twice', duplicates);
  });
});

const NOBODY = '00000000-0000-7000-8000-000000000000';
