import { readFileSync } from 'node:fs';
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { everyService, figure, percentile, withSystem } from '../../support/src/index.ts';

// What a service may need; a test asserts no more than twice that. Time is the processor's: how long it takes by the clock
// depends on what else the machine does, and is a figure of `make bench`.
const START_CPU_MS = 1_000;
const MEMORY = 120;

/** Processor time of a process so far, in ms: fields 14 and 15 of proc_pid_stat(5), of 100 ticks a second. */
function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const [user, system] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13)
    .map(Number);
  return ((user as number) + (system as number)) * 10;
}

for (const service of ['user', 'session'] as const) {
  describe(`${service}, alone`, () => {
    const system = withSystem();

    it(`is ready after ${START_CPU_MS} ms of processor time and needs at most ${MEMORY} MB when idle`, async function () {
      this.timeout(60_000);
      if (process.platform !== 'linux') {
        console.log('        skipped: processor time is read from /proc, which Linux alone has');
        this.skip();
      }
      const replica = await system.replica(service);
      const times: number[] = [];
      const processor: number[] = [];
      for (let run = 0; run < 4; run += 1) {
        const begun = performance.now();
        replica.start();
        await replica.ready();
        times.push(performance.now() - begun);
        processor.push(cpuMs(replica.process.pid));
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
      figure('processor time until then, most of 4', Math.max(...processor), 'ms');
      figure('resident memory after 3 s', memory.at(-1) as number, 'MB');
      expect(Math.max(...processor)).to.be.within(1, 2 * START_CPU_MS);
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
