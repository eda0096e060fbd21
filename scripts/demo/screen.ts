// Prints the demo: one line per fact, in three columns: time, name, text.
import { stripVTControlCharacters } from 'node:util';

export interface Screen {
  title(text: string): void;
  /** A line without columns. */
  line(text?: string): void;
  /** A step of the start: `broker  RabbitMQ 4.3.6 …  4.1 s`. */
  step(who: string, what: string, ms?: number): void;
  /** One hop of the tour, `ms` after its start. */
  hop(ms: number, who: string, what: string): void;
  /** Details of the hop above. */
  detail(what: string): void;
  fault(sentence: string): void;
  bold(text: string): string;
  faint(text: string): string;
}

const timeWidth = 8;
const nameWidth = 10;
const indent = timeWidth + 2 + nameWidth;

export function createScreen(out: NodeJS.WriteStream = process.stdout): Screen {
  const coloured = out.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
  const paint = (code: number | string) => (text: string) =>
    coloured ? `\x1b[${code}m${text}\x1b[0m` : text;
  const faint = paint(2);
  const bold = paint(1);
  const red = paint(31);
  const palette = [36, 35, 34, 32, 33, 96, 95].map(paint);
  const painters = new Map<string, (text: string) => string>([
    ['you', bold],
    ['exchange', paint(33)],
  ]);
  const name = (who: string) => {
    const known = painters.get(who);
    const painter = known ?? (palette[(painters.size - 2) % palette.length] as (text: string) => string);
    painters.set(who, painter);
    return painter(who.padEnd(nameWidth));
  };
  const width = () => Math.max(60, out.isTTY ? out.columns : 100);
  const write = (text: string) => void out.write(`${text}\n`);

  /** Truncates a line to the screen, because a wrapped line breaks the columns. */
  const cut = (text: string, room: number) => {
    const plain = stripVTControlCharacters(text);
    return plain.length <= room ? text : `${plain.slice(0, room - 1)}…`;
  };

  return {
    bold,
    faint,
    title: (text) => write(`\n${bold(text)}`),
    line: (text = '') => write(text),
    step(who, what, ms) {
      const time = ms === undefined ? '' : `${(ms / 1000).toFixed(1)} s`;
      const room = width() - nameWidth - 2 - timeWidth;
      const text = cut(what, room);
      const filled = text + ' '.repeat(Math.max(0, room - stripVTControlCharacters(text).length));
      write(
        `  ${name(who)}${ms === undefined ? faint(text) : filled + faint(time.padStart(timeWidth))}`.trimEnd(),
      );
    },
    hop(ms, who, what) {
      const time = `${Math.round(ms)} ms`.padStart(timeWidth);
      const [first, ...rest] = wrap(what, width() - indent);
      write(`${faint(time)}  ${name(who)}${first}`);
      for (const line of rest) write(' '.repeat(indent) + line);
    },
    detail(what) {
      for (const line of wrap(what, width() - indent)) write(' '.repeat(indent) + faint(line));
    },
    fault: (sentence) => void process.stderr.write(`${red(sentence)}\n`),
  };
}

/** Breaks text at spaces into lines of at most `room` characters. */
function wrap(text: string, room: number): string[] {
  const lines: string[] = [];
  let rest = text;
  while (rest.length > room) {
    const space = rest.lastIndexOf(' ', room);
    const end = space > 0 ? space : room;
    lines.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  return [...lines, rest];
}
