import { expect } from 'chai';
import type { FlowResult } from '../src/flow.ts';
import { absolute, figures, ratio } from '../src/report/compare.ts';
import { barChart } from '../src/report/svg.ts';
import { percentile, spreadOf } from '../src/statistics.ts';

describe('the figures of a run', () => {
  const run = (system: string, round: number, paidPerSecond: number, faults: string[] = []): FlowResult => ({
    system,
    round,
    faults,
    ready: {},
    closed: {
      orders: 1,
      paidPerSecond,
      cost: { services: 1, broker: 1, database: 1, total: 3 },
      others: 0,
    },
  });
  const { paidPerSecond } = figures;

  it('compares a system with the reference in the same round', () => {
    const runs = [run('nest', 1, 100), run('warren', 1, 200), run('nest', 2, 50), run('warren', 2, 150)];
    expect(ratio(runs, 'warren', 'nest', paidPerSecond)).to.deep.equal({
      median: 2.5,
      least: 2,
      greatest: 3,
    });
  });

  it('does not count a run that lost or doubled anything', () => {
    const runs = [
      run('nest', 1, 100),
      run('warren', 1, 900, ['1 orders are not paid']),
      run('warren', 2, 150),
    ];
    expect(absolute(runs, 'warren', paidPerSecond)?.median).to.equal(150);
    expect(ratio(runs, 'warren', 'nest', paidPerSecond)).to.equal(undefined);
  });

  it('has the median of an odd and of an even number of values', () => {
    expect(spreadOf([3, 1, 2])?.median).to.equal(2);
    expect(spreadOf([4, 1, 2, 3])?.median).to.equal(2.5);
    expect(spreadOf([])).to.equal(undefined);
  });

  it('has percentiles by the nearest rank', () => {
    const values = Array.from({ length: 100 }, (_, index) => index + 1);
    expect([percentile(values, 0.5), percentile(values, 0.99), percentile([7], 0.5)]).to.deep.equal([
      50, 99, 7,
    ]);
  });

  it('draws a bar for each system, as well-formed XML', () => {
    const svg = barChart('CPU & more', [{ label: 'a < b', parts: [1, 2] }], { parts: ['x', 'y'], digits: 1 });
    expect(svg).to.contain('CPU &amp; more').and.contain('a &lt; b').and.contain('>3.0</text>');
    expect(svg.match(/<rect/g)).to.have.length(4);
  });
});
