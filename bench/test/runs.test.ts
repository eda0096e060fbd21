import { expect } from 'chai';
import { runConsuming, runPublishing } from '../src/messaging.ts';
import { compilePeers } from '../src/peers.ts';
import { runSignUps } from '../src/sign-ups.ts';
import type { Stage } from '../src/stage.ts';
import { BARE, PARTS, type System, shops } from '../src/systems.ts';
import { openTestStage } from './fixtures/stage.ts';

describe('runs without a database, and of the whole', () => {
  let stage: Stage;
  const [shop] = shops() as [System];

  before(async () => {
    compilePeers();
    stage = await openTestStage(shop.services.length + 1);
  });
  after(() => stage.close());

  for (const system of [BARE, PARTS]) {
    it(`publishes and consumes every message once: ${system.title}`, async () => {
      const options = { round: 1, messages: 2_000 };
      for (const run of [runPublishing, runConsuming]) {
        const { faults, perSecond, cost } = await run(stage, system, options);
        expect(faults).to.deep.equal([]);
        expect(perSecond).to.be.greaterThan(0);
        expect(cost).to.be.greaterThan(0);
      }
    });
  }

  it('has figures of sign-ups while every service is restarted, and keeps its accounts', async function () {
    this.timeout(300_000);
    const settings = { rate: 5, seconds: 2, warmUpSeconds: 1, drainDelay: 0 };
    const result = await runSignUps(stage, shop, { round: 1, settings });
    expect(result.faults).to.deep.equal([]);
    expect(result.signUps).to.equal(10);
    expect(result.restarts?.services).to.equal(6);
    expect(result.accepted.p99).to.be.greaterThan(0);
  });
});
