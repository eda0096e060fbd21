// The part of docs/performance.md that a run writes: tables in Markdown, and the plots beside it.
import type { FootprintResult } from '../footprint.ts';
import type { GrowthResult } from '../growth.ts';
import type { MessagingResult } from '../messaging.ts';
import type { SignUpResult } from '../sign-ups.ts';
import { type Spread, spreadOf } from '../statistics.ts';
import type { Work } from '../systems.ts';
import { absolute, type Figure, figures, ratio } from './compare.ts';
import type { Results } from './results.ts';
import { type Bar, barChart } from './svg.ts';

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
    ...(results.signUps ? signUpSection(results.signUps) : []),
    ...(results.restarts ? restartSection(results.restarts) : []),
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

/** Of each system that failed in no round, with what is against `base` in the same round. */
function soundSystems<Result extends { system: string; title: string; round: number; faults: string[] }>(
  results: readonly Result[],
) {
  const sound = results.filter(({ faults }) => faults.length === 0);
  const toBase = (own: readonly Result[], figure: (result: Result) => number | undefined) =>
    spreadOf(
      own.flatMap((result) => {
        const other = sound.find(({ system, round }) => system === 'base' && round === result.round);
        const [ours, theirs] = [figure(result), other && figure(other)];
        return ours === undefined || theirs === undefined ? [] : [ours / theirs];
      }),
    );
  return [...new Map(sound.map(({ system, title }) => [system, title]))].map(([name, title]) => {
    const own = sound.filter(({ system }) => system === name);
    return {
      title,
      first: own[0] as Result,
      median: (figure: (result: Result) => number | undefined) =>
        spreadOf(own.flatMap((result) => figure(result) ?? []))?.median ?? Number.NaN,
      toBase: (figure: (result: Result) => number | undefined) => toBase(own, figure),
    };
  });
}

function signUpSection(results: readonly SignUpResult[]): string[] {
  return [
    '### Sign-ups',
    '',
    'POST /users through the gateway with all six services, until the mail server has the welcome and both e-mails about the welcome order of each. CPU of a sign-up, µs, with what the services do at rest meanwhile; ratios are to the base, where there is one. At a low rate each transaction carries one event; where more comes than is handled at once, many share one.',
    '',
    ...[...Map.groupBy(results, ({ rate }) => rate).values()].flatMap(signUpTable),
  ];
}

/** Of results at one rate. */
function signUpTable(results: readonly SignUpResult[]): string[] {
  const { rate, signUps } = results[0] as SignUpResult;
  const costs = (['services', 'broker', 'database'] as const).map(
    (group) => (result: SignUpResult) => result.cost?.[group],
  );
  const rows = soundSystems(results).map(({ title, median, toBase }) => [
    title,
    ...[median(({ accepted }) => accepted.p50), median(({ accepted }) => accepted.p99)].map((ms) =>
      ms.toFixed(0),
    ),
    median(({ lastEmailSeconds }) => lastEmailSeconds).toFixed(1),
    ...costs.flatMap((cost) => [median(cost).toFixed(0), ratioCell(toBase(cost))]),
  ]);
  return [
    `${signUps} sign-ups, ${rate} a second:`,
    '',
    ...table(
      [
        ...['system', 'accepted p50, ms', 'p99', 'last e-mail, s'],
        ...['services', 'ratio', 'broker', 'ratio', 'PostgreSQL', 'ratio'],
      ],
      rows,
    ),
    '',
  ];
}

function restartSection(results: readonly SignUpResult[]): string[] {
  const rows = soundSystems(results).map(({ title, first, median }) => [
    title,
    String(first.signUps),
    median(({ restarts }) => restarts?.seconds).toFixed(0),
    median(({ restarts }) => restarts?.repeats).toFixed(0),
    median(({ accepted }) => accepted.p99).toFixed(0),
    median(({ lastEmailSeconds }) => lastEmailSeconds).toFixed(1),
  ]);
  return [
    '### Restarts under load',
    '',
    `The same, ${results[0]?.rate} sign-ups a second, while every service is replaced in turn, as a deployment rolls: a new process is ready, gets the new connections, and the old one gets SIGTERM. All of it, broker and database included, shares the cores of this machine. A client repeats what is not answered 201, under one Idempotency-Key.`,
    '',
    ...table(
      [
        ...['system', 'sign-ups', 'all restarted after, s', 'requests repeated', 'accepted p99, ms'],
        'last sign-up to last e-mail, s',
      ],
      rows,
    ),
    '',
  ];
}

function messagingSection(results: readonly MessagingResult[]): string[] {
  const rows = (kind: MessagingResult['kind'], reference: string) => {
    const ofKind = results.filter((result) => result.kind === kind && result.faults.length === 0);
    const ratios = (
      own: readonly MessagingResult[],
      figure: (result: MessagingResult) => number | undefined,
    ) =>
      own.flatMap((result) => {
        const other = ofKind.find(({ system, round }) => system === reference && round === result.round);
        const [ours, theirs] = [figure(result), other && figure(other)];
        return ours === undefined || theirs === undefined ? [] : [ours / theirs];
      });
    return [...new Map(ofKind.map(({ system, title }) => [system, title]))].map(([system, title]) => {
      const own = ofKind.filter((result) => result.system === system);
      return [
        kind,
        title,
        String(own[0]?.messages),
        ratioCell(spreadOf(ratios(own, ({ perSecond }) => perSecond))),
        plain(spreadOf(own.map(({ perSecond }) => perSecond))),
        cell(spreadOf(own.flatMap(({ cost }) => cost ?? []))),
        ratioCell(spreadOf(ratios(own, ({ cost }) => cost))),
      ];
    });
  };
  return [
    '### Messages',
    '',
    '*publish*: out of memory by amqplib with a window of 500 confirms, the same by what the relay uses, and from the outbox in PostgreSQL to the broker; ratios to amqplib.',
    '*consume*: a full queue, by amqplib with an acknowledgement a message, and by the chassis without an inbox; ratios to amqplib.',
    '*save*: a full queue, by a handler that saves one row; ratios to NestJS. The first tenth of the messages is not counted.',
    '',
    ...table(
      ['', 'system', 'messages', 'ratio', 'messages/s', 'CPU a message, µs', 'ratio'],
      [...rows('publish', 'raw'), ...rows('consume', 'raw'), ...rows('save', 'nest')],
    ),
    '',
  ];
}

function footprintSection(results: readonly FootprintResult[]): string[] {
  const share = (value: number) => `${(100 * value).toFixed(1)} %`;
  const rows = soundSystems(results).flatMap(({ title, first, median, toBase }) => [
    ...Object.keys(first.services).map((service) => {
      const ready = (result: FootprintResult) => result.services[service]?.ready;
      const rss = (result: FootprintResult) => result.services[service]?.rss;
      return [
        title,
        service,
        median(ready).toFixed(0),
        ratioCell(toBase(ready)),
        (median(rss) / 1_000_000).toFixed(0),
        ratioCell(toBase(rss)),
        share(median(({ services }) => services[service]?.cpu)),
      ];
    }),
    [title, 'broker for all of them', '', '', '', '', share(median(({ broker }) => broker))],
    [title, 'PostgreSQL for all of them', '', '', '', '', share(median(({ database }) => database))],
  ]);
  return [
    '### At rest',
    '',
    'Medians. CPU is a share of one core without any request to the services. Ratios are to the base, where there is one.',
    '',
    ...table(
      ['system', 'process', 'start to ready, ms', 'ratio', 'memory (RSS), MB', 'ratio', 'CPU at rest'],
      rows,
    ),
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

function failures(results: Results): string[] {
  const { flow, signUps = [], restarts = [], messaging = [], footprint = [], growth = [] } = results;
  const titles = new Map(flow.systems.map(({ name, title }) => [name, title]));
  const failed = [...flow.runs, ...signUps, ...restarts, ...messaging, ...footprint, ...growth].filter(
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
