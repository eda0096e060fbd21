import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Copy, checkout, copyCheckout } from './support/copy.ts';

describe('make test', function () {
  this.timeout(60_000);
  let copy: Copy;

  before(() => {
    copy = copyCheckout();
    mkdirSync(join(copy.root, 'e2e/planted'));
    symlinkSync(join(checkout, 'e2e/ground/node_modules'), join(copy.root, 'e2e/planted/node_modules'));
  });
  after(() => copy.remove());

  const runSuite = (test: string, script = "mocha 'test/**/*.test.ts'") =>
    copy.with(
      {
        'e2e/planted/package.json': JSON.stringify({
          name: 'planted',
          type: 'module',
          scripts: { test: script },
        }),
        'e2e/planted/test/planted.test.ts': test,
      },
      () => copy.run('scripts/test.ts', 'e2e/planted'),
    );

  it('ends with the totals, and with 0 when every test passed', async () => {
    const { code, output } = await runSuite("it('holds', () => {});\nit('holds, too', () => {});\n");
    expect(output).to.match(/\ne2e\/planted {2}2 passed, 0 failed \(.* s\)\n\n2 passed, 0 failed\n$/);
    expect(code).to.equal(0);
  });

  it('ends with 1 when a test failed, and says which', async () => {
    const { code, output } = await runSuite(
      "it('holds', () => {});\nit('breaks', () => { throw new Error('broken'); });\n",
    );
    expect(output)
      .to.contain('broken')
      .and.to.match(/\n1 passed, 1 failed\n$/);
    expect(code).to.equal(1);
  });

  it('counts a skipped test as neither', async () => {
    const { output } = await runSuite("it('holds', () => {});\nit('waits for a later day');\n");
    expect(output).to.match(/\n1 passed, 0 failed, 1 skipped\n$/);
  });

  it('takes a suite that ran no test for failed', async () => {
    const { code, output } = await runSuite("describe('nothing', () => {});\n");
    expect(output)
      .to.contain('it ran no test')
      .and.to.match(/\n0 passed, 1 failed\n$/);
    expect(code).to.equal(1);
  });

  it('takes a suite that crashed for failed, whatever passed before', async () => {
    const { code, output } = await runSuite("it('ends it all', () => process.exit(7));\n");
    expect(output)
      .to.contain('it ended with exit code 7')
      .and.to.match(/\n0 passed, 1 failed\n$/);
    expect(code).to.equal(1);
  });

  it('takes a suite that cannot be started for failed', async () => {
    const { code, output } = await runSuite('', 'no-such-command');
    expect(output).to.match(/it ended with exit code 127\n\n0 passed, 1 failed\n/);
    expect(code).to.equal(1);
  });
});
