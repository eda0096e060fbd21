// Mocha's `spec`, which also leaves the totals where scripts/test.ts asks for them.
const { writeFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { join } = require('node:path');

const { reporters } = createRequire(join(process.cwd(), 'package.json'))('mocha');

module.exports = class extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    runner.once('end', () => {
      const { passes, failures, pending } = this.stats;
      writeFileSync(process.env.WARREN_TEST_TOTALS, JSON.stringify({ passes, failures, pending }));
    });
  }
};
