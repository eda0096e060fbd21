import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import {
  type Attempt,
  figure,
  isProblem,
  percentile,
  type Replica,
  withSystem,
} from '../../support/src/index.ts';

/** How long the database stays away, ms. */
const OUTAGE = 5_000;

describe('PostgreSQL under load', () => {
  const system = withSystem({ privateDatabase: true });
  let user: Replica;
  let session: Replica;

  before('the services', async function () {
    this.timeout(60_000);
    user = await system.run('user');
    session = await system.run('session');
  });

  for (const [what, seed, end] of [
    ['that is killed and started again', 5, 'kill'],
    ['that is stopped in order and started again', 6, 'stop'],
  ] as const) {
    it(`${what}: requests fail with 503, nothing hangs, and every 201 has its user and its session`, async function () {
      this.timeout(120_000);
      const pids = [user.process.pid, session.process.pid];
      const load = system.load({ rate: 20, seed, targets: () => [user.url] });
      await eventually(() => load.signUps.length >= 40, { timeout: 30_000 });

      await system.databaseServer[end]();
      const away = Date.now();
      await eventually(() => Date.now() - away >= OUTAGE, { timeout: 2 * OUTAGE });
      expect((await user.readyz()).status, '/readyz of user').to.equal(200);
      expect((await session.readyz()).body.database).to.equal('unreachable');
      const back = Date.now();
      await system.databaseServer.start();
      const up = Date.now();
      const all = () => load.signUps.flatMap(({ attempts }) => attempts);
      await eventually(() => all().some(({ at, answer }) => at > up && answer?.status === 201), {
        timeout: 60_000,
      });
      const served = Math.min(
        ...all()
          .filter(({ at, answer }) => at > up && answer?.status === 201)
          .map(endOf),
      );
      await eventually(() => load.signUps.length >= 40 + 20 * (OUTAGE / 1_000 + 4), { timeout: 60_000 });
      await load.stop();

      const during = all().filter((attempt) => attempt.at > away && endOf(attempt) < back);
      expect(during.length).to.be.greaterThan(40);
      const wrong = during.filter(
        ({ answer }) => !(answer && isProblem(answer, 503) && answer.headers['retry-after']),
      );
      expect(wrong.map(told), 'answers during the outage that are no 503 with Retry-After').to.deep.equal([]);
      expect(
        all()
          .filter(({ error }) => error)
          .map(told),
        'requests without an answer',
      ).to.deep.equal([]);
      const unexpected = all().filter(({ answer }) => ![201, 503].includes(answer?.status as number));
      expect(unexpected.map(told), 'answers that are neither').to.deep.equal([]);

      const { duplicates, settledAfter } = await system.accounts({ duplicates: true });
      for (const outcome of ['retried', 'dead'])
        expect(await session.metric('events_consumed_total', { outcome }), `events ${outcome}`).to.equal(0);
      expect([user.process.pid, session.process.pid], 'the processes lived on').to.deep.equal(pids);
      expect(user.running && session.running).to.equal(true);

      figure('answers 503 during the outage', during.length);
      figure(
        'their p99',
        percentile(
          during.map(({ ms }) => ms),
          0.99,
        ),
        'ms',
      );
      figure('slowest answer of all', Math.max(...all().map(({ ms }) => ms)), 'ms');
      figure('first 201 after the database is available', served - up, 'ms');
      figure('events published twice', duplicates);
      figure('settled after', settledAfter, 'ms');
    });
  }

  it('leaves no work undone when the services stop', async () => {
    await system.accounts({ end: true });
  });
});

const endOf = ({ at, ms }: Attempt): number => at + ms;

const told = ({ answer, error, ms }: Attempt): string =>
  `${error?.code ?? error?.message ?? answer?.status} after ${Math.round(ms)} ms ${JSON.stringify(answer?.body ?? '')}`;
