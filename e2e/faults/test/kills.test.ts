import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { createClient, figure, seeded, withSystem } from '../../support/src/index.ts';

const SEED = 20261121;
const KILLS = 20;

describe('SIGKILL under load', () => {
  const system = withSystem();

  it(`${KILLS} times, of either service, at random moments: every 201 has its user and its session`, async function () {
    this.timeout(180_000);
    const random = seeded(SEED);
    const user = await system.run('user');
    const session = await system.run('session');
    const load = system.load({ rate: 20, seed: SEED, targets: () => [user.url] });
    await eventually(() => load.signUps.length > 40);

    // As often the one as the other, in an order nobody chose.
    const victims = Array.from({ length: KILLS }, (_, i) => ({
      at: random.next(),
      replica: i % 2 ? user : session,
    }));
    for (const { replica: victim } of victims.sort((a, b) => a.at - b.at)) {
      const moment = random.between(200, 2_200);
      const begun = performance.now();
      await eventually(() => performance.now() - begun >= moment, { interval: 5 });
      expect(await victim.end('SIGKILL'), 'the exit code of a killed process').to.equal(null);
      victim.start();
    }
    const after = load.signUps.length;
    await Promise.all([user.ready(), session.ready()]);
    await eventually(() => load.signUps.length > after + 40);
    const signUps = await load.stop();

    const attempts = signUps.flatMap(({ attempts }) => attempts);
    const others = attempts.filter(({ answer, error }) => answer?.status !== 201 && error === undefined);
    expect(
      others.map(({ answer }) => answer),
      'answers other than 201',
    ).to.deep.equal([]);
    expect(
      attempts.filter(({ error }) => error?.code === 'HANGS'),
      'requests that hang',
    ).to.deep.equal([]);

    const client = createClient();
    for (const { user: made, key, name, email, path } of signUps.filter((_, i) => i % 20 === 0)) {
      const again = await client.send('POST', `${user.url}${path}`, {
        body: { name, email },
        headers: { 'idempotency-key': key as string },
      });
      expect(again.body, 'the answer to a repeat, long after').to.deep.equal(made);
    }
    client.close();
    const { duplicates, settledAfter } = await system.accounts({ duplicates: true, end: true });

    figure('sign-ups', signUps.length);
    figure('attempts that met a dead process', attempts.filter(({ error }) => error !== undefined).length);
    figure(
      'answers replayed',
      attempts.filter(({ answer }) => answer?.headers['idempotency-replayed']).length,
    );
    figure('events published twice', duplicates);
    figure('settled after', settledAfter, 'ms');
  });
});
