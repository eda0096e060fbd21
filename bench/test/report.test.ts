import { expect } from 'chai';
import type { FlowResult } from '../src/flow.ts';
import { absolute, figures, ratio } from '../src/report/compare.ts';
import { figuresOf } from '../src/report/page.ts';
import { barChart } from '../src/report/svg.ts';
import type { SignUpResult } from '../src/sign-ups.ts';
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

  describe('on the page', () => {
    const flow = {
      settings: { orders: 1, closedSeconds: 1, openSeconds: 1, warmUpOrders: 1, clients: 1 },
      ...{ reference: 'nest', systems: [], runs: [run('nest', 1, 100)] },
    };
    const machine = { cores: 2, processor: 'x', node: 'v24' };
    const common = {
      date: '2026-01-01',
      machine,
      broker: '',
      database: '',
      size: 'quick',
      rounds: 1,
    } as const;
    const lineOf = (page: string, title: string) =>
      page.split('\n').find((line) => line.includes(`| ${title} |`));
    const signUps = (system: string, database: number, more: Partial<SignUpResult> = {}): SignUpResult => ({
      ...{ system, title: system, round: 1, rate: 20, signUps: 200, faults: [] },
      ...{ cost: { services: 900, broker: 90, database, total: 0 }, lastEmailSeconds: 1.25 },
      accepted: { p50: 5, p99: 9 },
      ...more,
    });

    it('are those of sign-ups, with ratios to the base', () => {
      const page = figuresOf({ ...common, flow, signUps: [signUps('warren', 20), signUps('base', 100)] });
      expect(lineOf(page, 'warren')).to.contain('| 5 | 9 | 1.3 | 900 |').and.contain('| 20 | **0.20** (0.20');
    });

    it('are those of sign-ups at each rate', () => {
      const page = figuresOf({
        ...{ ...common, flow },
        signUps: [signUps('warren', 20), signUps('warren', 5, { rate: 100, signUps: 500 })],
      });
      const [, ordinary, burst] = page.split(/^\d+ sign-ups, /m) as [string, string, string];
      expect(ordinary).to.match(/^20 a second:/);
      expect(lineOf(ordinary, 'warren')).to.contain('| 20 |');
      expect(burst).to.match(/^100 a second:/);
      expect(lineOf(burst, 'warren')).to.contain('| 5 |');
    });

    it('are those of restarts, and leave out a run that lost anything', () => {
      const restarts = { services: 6, seconds: 28, repeats: 2 };
      const page = figuresOf({
        ...{ ...common, flow },
        restarts: [
          signUps('warren', 0, { restarts }),
          signUps('base', 0, { restarts, faults: ['1 e-mails are lost'] }),
        ],
      });
      expect(lineOf(page, 'warren')).to.equal('| warren | 200 | 28 | 2 | 9 | 1.3 |');
      expect(lineOf(page, 'base')).to.equal(undefined);
      expect(page).to.contain('**FAILED**, and not counted: base, round 1: 1 e-mails are lost.');
    });

    it('are those of messages, against the program without guarantees in the same round', () => {
      const message = (kind: 'publish' | 'consume', system: string, perSecond: number) => ({
        ...{ kind, system, title: system, round: 1, messages: 10, perSecond, cost: 10, faults: [] },
      });
      const page = figuresOf({
        ...{ ...common, flow },
        messaging: [message('consume', 'raw', 100), message('consume', 'parts', 90)],
      });
      expect(lineOf(page, 'parts')).to.contain('| consume | parts | 10 | **0.90** (0.90 – 0.90) | 90 |');
    });

    it('are those of services at rest, with ratios to the base', () => {
      const rest = (system: string, rss: number) => ({
        ...{ system, title: system, round: 1, broker: 0, database: 0, faults: [] },
        services: { user: { ready: 500, rss, cpu: 0.004 } },
      });
      const page = figuresOf({
        ...{ ...common, flow },
        footprint: [rest('warren', 105e6), rest('base', 100e6)],
      });
      expect(lineOf(page, 'warren')).to.equal(
        '| warren | user | 500 | **1.00** (1.00 – 1.00) | 105 | **1.05** (1.05 – 1.05) | 0.4 % |',
      );
    });
  });
});
