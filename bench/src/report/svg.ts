// Plots as SVG: horizontal bars, one a system. Colours are read on a light and on a dark page.
const WIDTH = 760;
const LABEL = 210;
const RIGHT = 90;
const ROW = 26;
const BAR = 16;
const TOP = 44;
const COLOURS = ['#4878a8', '#c98a3d', '#6a9a5b', '#8a8a8a'];

export interface Bar {
  label: string;
  /** Of which the bar is made, from the left. */
  parts: readonly number[];
  /** Least and greatest of the rounds; drawn as a line. */
  spread?: { least: number; greatest: number };
}

/**
 * @param options.parts names of the parts of each bar, where there is more than one
 * @param options.line a value that a dashed line marks, e.g. 1 for "as the reference"
 */
export function barChart(
  title: string,
  bars: readonly Bar[],
  options: { parts?: readonly string[]; line?: number; digits: number },
): string {
  const { parts = [], line, digits } = options;
  const sums = bars.map((bar) => sum(bar.parts));
  const greatest = Math.max(line ?? 0, ...sums, ...bars.map(({ spread }) => spread?.greatest ?? 0)) || 1;
  const scale = (WIDTH - LABEL - RIGHT) / greatest;
  const x = (value: number) => (LABEL + value * scale).toFixed(1);
  const height = TOP + bars.length * ROW + 12;
  const content = [
    text(8, 20, title, 'font-weight="bold"'),
    ...parts.flatMap((name, index) => legend(name, index)),
    ...(line === undefined
      ? []
      : [
          `<line x1="${x(line)}" x2="${x(line)}" y1="${TOP - 6}" y2="${height - 8}" stroke="#888" stroke-dasharray="4 3"/>`,
        ]),
    ...bars.flatMap((bar, index) => drawBar(bar, TOP + index * ROW, x, digits)),
  ];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="13" fill="#888" role="img">`,
    `  <title>${escaped(title)}</title>`,
    ...content.map((element) => `  ${element}`),
    '</svg>',
    '',
  ].join('\n');
}

function drawBar(
  { label, parts, spread }: Bar,
  y: number,
  x: (value: number) => string,
  digits: number,
): string[] {
  const middle = y + BAR / 2;
  const end = Math.max(sum(parts), spread?.greatest ?? 0);
  return [
    text(8, middle + 4, label),
    ...parts.map((part, index) => {
      const from = sum(parts.slice(0, index));
      const width = Number(x(from + part)) - Number(x(from));
      return `<rect x="${x(from)}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" fill="${COLOURS[index % COLOURS.length]}"/>`;
    }),
    ...(spread
      ? [
          `<line x1="${x(spread.least)}" x2="${x(spread.greatest)}" y1="${middle}" y2="${middle}" stroke="#888" stroke-width="2"/>`,
        ]
      : []),
    text(Number(x(end)) + 6, middle + 4, sum(parts).toFixed(digits)),
  ];
}

const legend = (name: string, index: number): string[] => {
  const left = LABEL + index * 130;
  return [
    `<rect x="${left}" y="26" width="10" height="10" fill="${COLOURS[index % COLOURS.length]}"/>`,
    text(left + 15, 35, name),
  ];
};

const text = (x: number, y: number, content: string, more = ''): string =>
  `<text x="${x.toFixed(1)}" y="${y}" ${more}>${escaped(content)}</text>`;

const escaped = (content: string): string => content.replace(/&/g, '&amp;').replace(/</g, '&lt;');

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
