import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { checkout } from '../../../scripts/copy.ts';

const SHORT: Record<string, string> = {
  chassis: 'packages/chassis/test',
  gateway: 'services/gateway/test',
  values: 'scripts/check-chart-values',
};

/** The last cell of each row: `chassis/http-body › title; e2e/fuzz/test/amqp`. */
const tests = readFileSync(join(checkout, 'docs/reference/robustness.md'), 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('| ') && !line.startsWith('| #') && !/^\| (attempt|report) /.test(line))
  .flatMap((line) => (line.split('|').at(-2) as string).split(';'))
  .map((test) => test.trim())
  .filter((test) => test !== '–' && !test.startsWith('('));

describe('docs/reference/robustness.md', () => {
  for (const test of new Set(tests)) {
    it(`names a test that exists: ${test}`, () => {
      const [path = '', ...titles] = test.split(' › ');
      const [first = '', ...rest] = path.split('/');
      const files = globSync(`${[SHORT[first] ?? first, ...rest].join('/')}*.ts`, { cwd: checkout });
      expect(files, 'files').not.to.have.length(0);
      const source = files.map((file) => readFileSync(join(checkout, file), 'utf8')).join('\n');
      // A title that is built from data is in the source up to the first value.
      for (const title of titles)
        expect(source).to.contain(title.replaceAll('\\', '').split('…')[0]?.trim().slice(0, 30));
    });
  }
});
