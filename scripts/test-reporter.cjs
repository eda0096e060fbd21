// Mocha's `spec`, which also writes a file for scripts/test.ts: the totals, every failure, and for each test and hook how long
// it took (ms) and how busy the machine was meanwhile (0 to 1; a low value means that the test waited).
const { writeFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { cpus } = require('node:os');
const { join } = require('node:path');

const { reporters } = createRequire(join(process.cwd(), 'package.json'))('mocha');

module.exports = class extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const times = [];
    const failures = [];
    for (const kind of ['test', 'hook']) {
      runner.on(kind, (runnable) => {
        runnable.measure = startMeasure();
      });
      runner.on(`${kind} end`, (runnable) => {
        if (runnable.measure) times.push({ title: titleOf(runnable), ...runnable.measure() });
      });
    }
    runner.on('fail', (runnable) => failures.push(titleOf(runnable)));
    runner.once('end', () => {
      const { passes, failures: failed, pending } = this.stats;
      writeFileSync(
        process.env.WARREN_TEST_TOTALS,
        JSON.stringify({ passes, failures: failed, pending, failed: failures, times }),
      );
    });
  }
};

const titleOf = (runnable) => runnable.titlePath().join(' › ');

function startMeasure() {
  const began = performance.now();
  const before = processorTimes();
  return () => {
    const after = processorTimes();
    const all = after.all - before.all;
    return {
      ms: performance.now() - began,
      busy: all > 0 ? 1 - (after.idle - before.idle) / all : 1,
    };
  };
}

function processorTimes() {
  let idle = 0;
  let all = 0;
  for (const { times } of cpus()) {
    idle += times.idle;
    for (const time of Object.values(times)) all += time;
  }
  return { idle, all };
}
