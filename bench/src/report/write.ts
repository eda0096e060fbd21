// The results as JSON, and, where nothing was left out, as docs/performance.md with its plots.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { checkout } from '../systems.ts';
import { figuresOf, plotsOf } from './page.ts';
import type { Results } from './results.ts';

const RESULTS = 'bench/results';
const PAGE = 'docs/performance.md';
const BEGIN = '<!-- Written by `make bench` from here. -->';
const END = '<!-- To here. -->';

/** @param complete nothing was left out; else the page stays as it is, and the file is not the one that is kept */
export function write(results: Results, complete: boolean): void {
  const file = `${RESULTS}/${complete ? 'latest' : 'partial'}.json`;
  put(file, `${JSON.stringify(results, undefined, 2)}\n`);
  if (!complete) return;
  put(PAGE, between(readFileSync(join(checkout, PAGE), 'utf8'), figuresOf(results)));
  for (const [plot, svg] of plotsOf(results)) put(`docs/${plot}`, svg);
}

/** The page with new figures between its markers. @throws when it has lost them */
function between(page: string, figures: string): string {
  const [before, rest] = page.split(BEGIN);
  const after = rest?.split(END)[1];
  if (before === undefined || after === undefined)
    throw new Error(`${PAGE} must have the lines ${BEGIN} and ${END}, between which the figures go.`);
  return `${before}${BEGIN}\n${figures}\n${END}${after}`;
}

function put(file: string, content: string): void {
  mkdirSync(dirname(join(checkout, file)), { recursive: true });
  writeFileSync(join(checkout, file), content);
  console.log(file);
}
