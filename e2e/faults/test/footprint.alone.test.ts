import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { everyService, figure, percentile, withSystem } from '../../support/src/index.ts';

// What a service may need; a test asserts no more than twice that.
const START = 2_000;
const MEMORY = 120;

for (const service of ['user', 'session'] as const) {
  describe(`${service}, alone`, () => {
    const system = withSystem();

    it(`is ready within ${START} ms and needs at most ${MEMORY} MB when idle`, async function () {
      this.timeout(60_000);
      const replica = await system.replica(service);
      const times: number[] = [];
      for (let run = 0; run < 4; run += 1) {
        const begun = performance.now();
        replica.start();
        await replica.ready();
        times.push(performance.now() - begun);
        await eventually(async () => expect(await replica.metric('broker_connected')).to.equal(1));
        if (run < 3) expect(await replica.end()).to.equal(0);
      }
      const ready = Date.now();
      const memory: number[] = [];
      await eventually(
        async () => {
          memory.push((await replica.metric('process_resident_memory_bytes')) / 2 ** 20);
          return Date.now() - ready > 3_000;
        },
        { interval: 250 },
      );
      const [first, ...later] = times as [number, ...number[]];
      figure('ready for the first time, with migrations, after', first, 'ms');
      figure('ready after, median of 3', percentile(later, 0.5), 'ms');
      figure('resident memory after 3 s', memory.at(-1) as number, 'MB');
      expect(Math.max(...times)).to.be.below(2 * START);
      expect(Math.max(...memory)).to.be.below(2 * MEMORY);
    });
  });
}

describe('all services together', () => {
  const system = withSystem({ services: everyService });

  it(`need at most ${MEMORY} MB each when idle`, async function () {
    this.timeout(90_000);
    const replicas = Object.values(await system.runAll());
    const ready = Date.now();
    await eventually(() => Date.now() - ready > 3_000, { interval: 250 });
    for (const replica of replicas) {
      const memory = (await replica.metric('process_resident_memory_bytes')) / 2 ** 20;
      figure(`resident memory of ${replica.service} after 3 s`, memory, 'MB');
      expect(memory, replica.service).to.be.below(2 * MEMORY);
    }
    expect(await system.end()).to.deep.equal(replicas.map(() => 0));
  });
});
