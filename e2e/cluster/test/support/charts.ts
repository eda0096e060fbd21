// The charts of this checkout, with the library in them.
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './run.ts';

const checkout = fileURLToPath(new URL('../../../../', import.meta.url));

export interface Charts {
  /** Where a chart is. */
  path(chart: string): string;
}

/** A copy: `helm dependency build` writes into a chart. */
export function withCharts(...charts: string[]): Charts {
  let scratch: string;
  before('the charts, complete', async () => {
    scratch = mkdtempSync(join(tmpdir(), 'warren-charts-'));
    cpSync(join(checkout, 'charts'), scratch, {
      recursive: true,
      filter: (source) => !/charts\/[^/]+\/(charts|Chart\.lock)$/.test(source),
    });
    for (const chart of charts) await run('helm', ['dependency', 'build', join(scratch, chart)]);
  });
  after(() => {
    if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
  });
  return { path: (chart) => join(scratch, chart) };
}
