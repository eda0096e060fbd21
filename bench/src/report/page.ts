// The part of docs/performance.md that a run writes: tables in Markdown, and the plots beside it.
import type { FootprintResult } from '../footprint.ts';
import type { GrowthResult } from '../growth.ts';
import type { MessagingResult } from '../messaging.ts';
import { type Spread, spreadOf } from '../statistics.ts';
import type { Work } from '../systems.ts';
import { absolute, type Figure, figures, ratio } from './compare.ts';
import { type Bar, barChart } from './svg.ts';
import type { Results } from './write.ts';

type Flow = Results['flow'];

/** Of the plots, seen from docs/. */
const PLOTS = 'performance';

export function figuresOf(results: Results): string {
  const { machine, broker, database, date, size, rounds, flow } = results;
  const { clients, orders, closedSeconds, openSeconds } = flow.settings;
  return [
    `Measured on ${date.slice(0, 10)} (\`${size}\`, ${rounds} rounds): ${machine.cores} cores of ${machine.processor.trim()}, Node.js ${machine.node.slice(1)}, ${broker}, ${database}.`,
    `${others(flow)}`,
    '',
    '### Same work, closed loop',
    '',
    `${clients} clients place ${orders} orders, or as many as ${closedSeconds} s allow; each waits for its answer. Ratios are to ${titleOf(flow, flow.reference)} in the same round: median, least to greatest.`,
    '',
    `![Orders paid in a second](${PLOTS}/same-work-paid.svg)`,
    `![CPU of an order](${PLOTS}/same-work-cpu.svg)`,
    '',
    ...closedTable(flow, 'same-work'),
    '',
    '### The product, closed loop',
    '',
    `![Orders paid in a second](${PLOTS}/product-paid.svg)`,
    `![CPU of an order](${PLOTS}/product-cpu.svg)`,
    '',
    ...closedTable(flow, 'product'),
    '',
    '### Open loop',
    '',
    `Orders come at a fixed rate for ${openSeconds} s, whether or not earlier ones are answered: ${rateOf(flow)} a second, half of what ${titleOf(flow, flow.reference)} reached. Latency counts from the time an order was due.`,
    '',
    ...openTable(flow),
    '',
    ...(results.messaging ? messagingSection(results.messaging) : []),
    ...(results.footprint ? footprintSection(results.footprint) : []),
    ...(results.growth ? growthSection(results.growth) : []),
    '### Accounts',
    '',
    ...failures(results),
  ].join('\n');
}

/** By file name, seen from docs/. */
export function plotsOf({ flow }: Results): Map<string, string> {
  return new Map(
    (['same-work', 'product'] as const).flatMap((work) => [
      [`${PLOTS}/${work}-paid.svg`, paidPlot(flow, work)],
      [`${PLOTS}/${work}-cpu.svg`, costPlot(flow, work)],
    ]),
  );
}

/** What a section compares: its own systems, and the reference. */
const systemsOf = ({ systems, reference }: Flow, work: Work) =>
  systems.filter((system) => system.work === work || system.name === reference);

const titleOf = ({ systems }: Flow, name: string): string =>
  systems.find((system) => system.name === name)?.title ?? name;

function closedTable(flow: Flow, work: Work): string[] {
  const row = ({ name, title }: { name: string; title: string }) => [
    title,
    against(flow, name, figures.paidPerSecond),
    plain(absolute(flow.runs, name, figures.paidPerSecond)),
    against(flow, name, figures.total),
    ...[figures.total, figures.services, figures.broker, figures.database].map((figure) =>
      plain(absolute(flow.runs, name, figure)),
    ),
  ];
  return table(
    [
      'system',
      'paid/s, ratio',
      'paid/s',
      'CPU an order, ratio',
      'CPU, µs',
      'services',
      'broker',
      'PostgreSQL',
    ],
    systemsOf(flow, work).map(row),
  );
}

function openTable(flow: Flow): string[] {
  const row = ({ name, title }: { name: string; title: string }) => [
    title,
    ...[figures.acceptedP50, figures.acceptedP99, figures.paidP50, figures.paidP99].map((figure) =>
      plain(absolute(flow.runs, name, figure)),
    ),
    against(flow, name, figures.acceptedP99),
    against(flow, name, figures.paidP99),
    against(flow, name, figures.openTotal),
  ];
  return table(
    [
      'system',
      'accepted p50, ms',
      'p99',
      'paid p50, ms',
      'p99',
      'accepted p99, ratio',
      'paid p99, ratio',
      'CPU an order, ratio',
    ],
    flow.systems.map(row),
  );
}

const paidPlot = (flow: Flow, work: Work): string =>
  barChart(
    `Orders paid in a second, ${titleOf(flow, flow.reference)} = 1`,
    systemsOf(flow, work).flatMap(({ name, title }): Bar[] => {
      const spread = ratio(flow.runs, name, flow.reference, figures.paidPerSecond);
      return spread ? [{ label: title, parts: [spread.median], spread }] : [];
    }),
    { line: 1, digits: 2 },
  );

const costPlot = (flow: Flow, work: Work): string =>
  barChart(
    'CPU of an order, ms',
    systemsOf(flow, work).map(({ name, title }) => ({
      label: title,
      parts: [figures.services, figures.broker, figures.database].map(
        (figure) => (absolute(flow.runs, name, figure)?.median ?? 0) / 1_000,
      ),
    })),
    { parts: ['services', 'broker', 'PostgreSQL'], digits: 2 },
  );

function others({ runs }: Flow): string {
  const cores = runs.map(({ closed }) => closed?.others ?? 0);
  return `Other programs used ${Math.min(...cores).toFixed(2)} to ${Math.max(...cores).toFixed(2)} cores of the machine meanwhile.`;
}

const rateOf = ({ runs }: Flow): string =>
  [...new Set(runs.flatMap(({ open }) => open?.rate ?? []))].join(', ');

function messagingSection(results: readonly MessagingResult[]): string[] {
  const rows = (kind: MessagingResult['kind'], reference: string) => {
    const ofKind = results.filter((result) => result.kind === kind && result.faults.length === 0);
    const rate = (system: string, round: number) =>
      ofKind.find((result) => result.system === system && result.round === round)?.perSecond;
    return [...new Map(ofKind.map(({ system, title }) => [system, title]))].map(([system, title]) => {
      const own = ofKind.filter((result) => result.system === system);
      const ratios = own.flatMap(({ round, perSecond }) => {
        const other = rate(reference, round);
        return other === undefined ? [] : [perSecond / other];
      });
      return [
        kind,
        title,
        ratioCell(spreadOf(ratios)),
        plain(spreadOf(own.map(({ perSecond }) => perSecond))),
        cell(spreadOf(own.flatMap(({ cost }) => cost ?? []))),
      ];
    });
  };
  return [
    '### Messages',
    '',
    `*publish*: ${results[0]?.messages} messages, by amqplib with a window of 500 confirms, and from the outbox in PostgreSQL to the broker; ratios to amqplib.`,
    '*consume*: a full queue, by amqplib with an acknowledgement a message and no database, and by a handler that saves one row; ratios to NestJS.',
    '',
    ...table(
      ['', 'system', 'ratio', 'messages/s', 'CPU a message, µs'],
      [...rows('publish', 'raw'), ...rows('consume', 'nest')],
    ),
    '',
  ];
}

function footprintSection(results: readonly FootprintResult[]): string[] {
  const sound = results.filter(({ faults }) => faults.length === 0);
  const rows = [...new Map(sound.map(({ system, title }) => [system, title]))].flatMap(([system, title]) => {
    const own = sound.filter((result) => result.system === system);
    const median = (figure: (result: FootprintResult) => number | undefined) =>
      spreadOf(own.flatMap((result) => figure(result) ?? []))?.median ?? Number.NaN;
    const share = (value: number) => `${(100 * value).toFixed(1)} %`;
    return [
      ...Object.keys(own[0]?.services ?? {}).map((service) => [
        title,
        service,
        median(({ services }) => services[service]?.ready).toFixed(0),
        (median(({ services }) => services[service]?.rss) / 1_000_000).toFixed(0),
        share(median(({ services }) => services[service]?.cpu)),
      ]),
      [title, 'broker for all of them', '', '', share(median(({ broker }) => broker))],
      [title, 'PostgreSQL for all of them', '', '', share(median(({ database }) => database))],
    ];
  });
  return [
    '### At rest',
    '',
    'Medians. CPU is a share of one core without any request to the services.',
    '',
    ...table(['system', 'process', 'start to ready, ms', 'memory (RSS), MB', 'CPU at rest'], rows),
    '',
  ];
}

function growthSection(results: readonly GrowthResult[]): string[] {
  const sound = results.filter(({ faults, cost }) => faults.length === 0 && cost !== undefined);
  const medianOf = (like: GrowthResult, figure: (result: GrowthResult) => number | undefined) =>
    spreadOf(
      sound
        .filter(({ of, value, system }) => of === like.of && value === like.value && system === like.system)
        .flatMap((result) => figure(result) ?? []),
    )?.median ?? Number.NaN;
  const seen = new Map(sound.map((result) => [`${result.of} ${result.system} ${result.value}`, result]));
  const rows = [...seen.values()].map((result) => {
    const least = [...seen.values()].find(({ of, system }) => of === result.of && system === result.system);
    const cost = medianOf(result, (each) => each.cost);
    return [
      result.of,
      result.value.toLocaleString('en'),
      result.title,
      `**${(cost / medianOf(least ?? result, (each) => each.cost)).toFixed(2)}**`,
      cost.toFixed(0),
      medianOf(result, ({ perSecond }) => perSecond).toFixed(0),
    ];
  });
  return [
    '### Growth',
    '',
    'What an order, or a message, costs when there is more of something: CPU against the least of it. Medians.',
    '',
    ...table(['of', 'how much', 'system', 'CPU, ratio', 'CPU, µs', 'a second'], rows),
    '',
  ];
}

function failures({ flow, messaging = [], footprint = [], growth = [] }: Results): string[] {
  const titles = new Map(flow.systems.map(({ name, title }) => [name, title]));
  const failed = [...flow.runs, ...messaging, ...footprint, ...growth].filter(
    ({ faults }) => faults.length > 0,
  );
  if (failed.length === 0) return ['Every run kept its accounts: nothing was lost, nothing was done twice.'];
  return failed.map(
    ({ system, round, faults }) =>
      `**FAILED**, and not counted: ${titles.get(system) ?? system}, round ${round}: ${faults.join('; ')}.`,
  );
}

const against = (flow: Flow, name: string, figure: Figure): string => {
  return ratioCell(ratio(flow.runs, name, flow.reference, figure));
};

const ratioCell = (spread: Spread | undefined): string =>
  spread
    ? `**${spread.median.toFixed(2)}** (${spread.least.toFixed(2)} – ${spread.greatest.toFixed(2)})`
    : '–';

const cell = (spread: Spread | undefined): string => spread?.median.toFixed(0) ?? '–';

const plain = (spread: Spread | undefined): string => (spread ? spread.median.toFixed(0) : 'FAILED');

/** Columns of words stand left, those of figures right. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const isWords = (index: number) => rows.some((row) => /^[A-Za-z]{3}/.test(row[index] ?? ''));
  const rule = head.map((_, index) => (isWords(index) ? '---' : '--:'));
  return [head, rule, ...rows].map((cells) => `| ${cells.join(' | ')} |`);
}
