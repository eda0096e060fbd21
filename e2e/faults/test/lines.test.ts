import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import {
  type Attempt,
  figure,
  isProblem,
  openTcpProxy,
  percentile,
  type Replica,
  seeded,
  type TcpProxy,
  withSystem,
} from '../../support/src/index.ts';

// Both ends live; what is between them fails.
describe('a connection that fails under load', () => {
  const system = withSystem();
  const brokers: TcpProxy[] = [];
  const databases: TcpProxy[] = [];
  let user: Replica;
  let session: Replica;

  before('services on lines that can be cut', async function () {
    this.timeout(60_000);
    for (const service of ['user', 'session'] as const) {
      const broker = await openTcpProxy(`${system.broker.url(service)}?heartbeat=1`);
      const database = await openTcpProxy(system.databaseUrl(service));
      brokers.push(broker);
      databases.push(database);
      const env = { AMQP_URL: broker.url, DATABASE_URL: database.url, REQUEST_TIMEOUT: '2s' };
      const replica = await system.run(service, env);
      if (service === 'user') user = replica;
      else session = replica;
    }
    await connected(1);
  });
  after(() => Promise.all([...brokers, ...databases].map((proxy) => proxy.close())));

  const connected = (wanted: 0 | 1) =>
    eventually(
      async () => {
        for (const replica of [user, session])
          expect(await replica.metric('broker_connected')).to.equal(wanted);
      },
      { timeout: 20_000 },
    );
  const start = (seed: number) => {
    const load = system.load({ rate: 20, seed, targets: () => [user.url] });
    const attempts = () => load.signUps.flatMap((signUp) => signUp.attempts);
    const more = async (count: number) => {
      const now = load.signUps.length;
      await eventually(() => load.signUps.length >= now + count, { timeout: 30_000 });
    };
    return { stop: load.stop, attempts, more };
  };
  /** Nothing was retried or dead-lettered: what fails is the line, not the events. */
  const nothingClimbed = async () => {
    for (const outcome of ['retried', 'dead'])
      expect(await session.metric('events_consumed_total', { outcome }), `events ${outcome}`).to.equal(0);
  };

  it('to the broker loses no request and no event when it is cut repeatedly', async function () {
    this.timeout(90_000);
    const random = seeded(81);
    const { stop, attempts, more } = start(81);
    for (let i = 0; i < 6; i += 1) {
      await more(Math.round(random.between(20, 60)));
      await Promise.all(brokers.map((line) => line.cut()));
      await more(Math.round(random.between(1, 20)));
      await Promise.all(brokers.map((line) => line.restore()));
    }
    await connected(1);
    await stop();
    expect(attempts().map(({ answer }) => answer?.status)).to.deep.equal(attempts().map(() => 201));
    const { duplicates } = await system.accounts({ duplicates: true });
    await nothingClimbed();
    figure('events published twice', duplicates);
  });

  it('to the broker loses no request and no event when it freezes: the heartbeat detects it', async function () {
    this.timeout(90_000);
    const { stop, attempts, more } = start(82);
    await more(40);
    for (const line of brokers) line.freeze();
    const frozen = Date.now();
    await connected(0);
    figure('noticed after', Date.now() - frozen, 'ms');
    await more(40);
    await Promise.all(brokers.map((line) => line.restore()));
    await connected(1);
    await more(20);
    await stop();
    expect(attempts().map(({ answer }) => answer?.status)).to.deep.equal(attempts().map(() => 201));
    const { duplicates } = await system.accounts({ duplicates: true });
    await nothingClimbed();
    figure('events published twice', duplicates);
  });

  for (const [what, fail, seed] of [
    ['cut again and again', 'cut', 83],
    ['silent', 'freeze', 84],
  ] as const) {
    it(`to the database, ${what}, is 503 by the deadline, and costs no promise`, async function () {
      this.timeout(120_000);
      const { stop, attempts, more } = start(seed);
      for (let i = 0; i < (fail === 'cut' ? 4 : 1); i += 1) {
        await more(40);
        await Promise.all(databases.map((line) => line[fail]()));
        await more(fail === 'cut' ? 20 : 160);
        await Promise.all(databases.map((line) => line.restore()));
      }
      await more(40);
      await stop();

      const unanswered = attempts().filter(({ answer }) => answer === undefined);
      expect(unanswered.map(told), 'requests without an answer').to.deep.equal([]);
      const refused = attempts().filter(({ answer }) => answer?.status !== 201);
      const wrong = refused.filter(({ answer }) => !answer?.headers['retry-after'] || !isFleeting(answer));
      expect(wrong.map(told), 'answers that are neither 201 nor a passing problem').to.deep.equal([]);
      figure('answers other than 201', refused.length);
      figure('slowest answer', Math.max(...attempts().map(({ ms }) => ms)), 'ms');
      figure(
        'p99',
        percentile(
          attempts().map(({ ms }) => ms),
          0.99,
        ),
        'ms',
      );
      expect(Math.max(...attempts().map(({ ms }) => ms)), 'against a deadline of 2,000').to.be.below(10_000);
      await system.accounts({ duplicates: true });
      await nothingClimbed();
    });
  }

  it('leaves no work undone when the services stop', async () => {
    await system.accounts({ end: true });
  });

  it('to the database may be cut at the start: the service waits for it', async () => {
    await Promise.all(databases.map((line) => line.cut()));
    for (const replica of [user, session]) replica.start();
    await eventually(async () => {
      for (const replica of [user, session])
        expect(replica.process.logs.filter(({ msg }) => /database unavailable/.test(msg))).to.have.length(1);
    });
    expect((await user.readyz()).status).to.equal(503);
    await Promise.all(databases.map((line) => line.restore()));
    await Promise.all([user.ready(), session.ready()]);
    const { stop, more } = start(85);
    await more(20);
    await stop();
    await system.accounts({ end: true });
  });
});

/** 503, or, under an Idempotency-Key, 409 for a repeat that crosses its first. */
const isFleeting = (answer: NonNullable<Attempt['answer']>): boolean =>
  isProblem(answer, 503) || (isProblem(answer, 409) && answer.body.code === 'idempotency_in_progress');

const told = ({ answer, error, ms }: Attempt): string =>
  `${error?.code ?? error?.message ?? answer?.status} after ${Math.round(ms)} ms ${JSON.stringify(answer?.body ?? '')}`;
