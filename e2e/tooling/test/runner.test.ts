import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Copy, checkout, copyCheckout } from '../../../scripts/copy.ts';

describe('make test', function () {
  this.timeout(60_000);
  let copy: Copy;

  before(() => {
    copy = copyCheckout();
    mkdirSync(join(copy.root, 'e2e/planted'));
    symlinkSync(join(checkout, 'e2e/tooling/node_modules'), join(copy.root, 'e2e/planted/node_modules'));
  });
  after(() => copy.remove());

  const runFiles = (files: Record<string, string>, script = "mocha 'test/**/*.test.ts'") => {
    const planted = Object.entries(files).map(([name, test]) => [`e2e/planted/test/${name}`, test]);
    return copy.with(
      {
        'e2e/planted/package.json': JSON.stringify({
          name: 'planted',
          type: 'module',
          scripts: { test: script },
        }),
        ...Object.fromEntries(planted),
      },
      () => copy.run('scripts/test.ts', 'e2e/planted'),
    );
  };
  const runSuite = (test: string, script?: string) => runFiles({ 'planted.test.ts': test }, script);

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
      .and.to.match(/\nFAILED\n {2}e2e\/planted test\/planted\.test\.ts: breaks\n\n1 passed, 1 failed\n$/);
    expect(code).to.equal(1);
  });

  it('adds up the files that ran beside each other, and prints their output in order', async () => {
    // Too large for one job: the second begins before the first has ended, which waits for it.
    const marker = join(copy.root, 'e2e/planted/second-runs');
    const padding = `// ${'x'.repeat(20_000)}\n`;
    const { output } = await runFiles({
      'a.test.ts': `import { existsSync } from 'node:fs';
        it('waits for the other', async () => {
          while (!existsSync(${JSON.stringify(marker)})) await new Promise((done) => setTimeout(done, 20));
        });\n${padding}`,
      'b.test.ts': `import { writeFileSync } from 'node:fs';
        it('runs beside it', () => writeFileSync(${JSON.stringify(marker)}, ''));\n${padding}`,
    });
    expect(output)
      .to.match(/waits for the other[\s\S]*runs beside it/)
      .and.to.match(/\n2 passed, 0 failed\n$/);
  });

  it('runs a file called NAME.alone.test.ts when nothing else runs', async () => {
    const marker = join(copy.root, 'e2e/planted/others-run');
    const { output } = await runFiles({
      'a.alone.test.ts': `import { existsSync } from 'node:fs';
        it('is alone', () => { if (existsSync(${JSON.stringify(marker)})) throw new Error('beside others'); });\n`,
      'b.test.ts': `import { rmSync, writeFileSync } from 'node:fs';
        it('takes a while', async () => {
          writeFileSync(${JSON.stringify(marker)}, '');
          await new Promise((done) => setTimeout(done, 1_000));
          rmSync(${JSON.stringify(marker)});
        });\n`,
    });
    expect(output).to.match(/\n2 passed, 0 failed\n$/);
  });

  it('prints the slowest tests for SLOW=1', async () => {
    process.env.SLOW = '1';
    try {
      const { output } = await runSuite("it('is the slowest', () => {});\n");
      expect(output).to.match(/ 0\.\d s {2}machine busy +\d+ % {2}e2e\/planted: is the slowest\n/);
    } finally {
      delete process.env.SLOW;
    }
  });

  it('refuses a JOBS that is not a number', async () => {
    process.env.JOBS = 'many';
    try {
      const { code, output } = await runSuite("it('holds', () => {});\n");
      expect(output).to.contain('JOBS must be a whole number of at least 1, not many.');
      expect(code).to.equal(2);
    } finally {
      delete process.env.JOBS;
    }
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

  it('counts a suite that crashed as failed, also if its tests passed before', async () => {
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
