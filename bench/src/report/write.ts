// The results as JSON, and, where nothing was left out, as docs/performance.md with its plots.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FlowResult, FlowSettings } from '../flow.ts';
import { checkout, type Work } from '../systems.ts';

export interface Results {
  /** ISO 8601 */
  date: string;
  machine: { cores: number; processor: string; node: string };
  broker: string;
  database: string;
  size: 'quick' | 'default' | 'full';
  rounds: number;
  flow: {
    settings: FlowSettings;
    /** Name of the system that ratios are to. */
    reference: string;
    systems: { name: string; title: string; work: Work }[];
    runs: FlowResult[];
  };
}

const RESULTS = 'bench/results';

/** @param complete nothing was left out; else the page stays as it is, and the file is not the one that is kept */
export function write(results: Results, complete: boolean): void {
  const file = `${RESULTS}/${complete ? 'latest' : 'partial'}.json`;
  mkdirSync(join(checkout, RESULTS), { recursive: true });
  writeFileSync(join(checkout, file), `${JSON.stringify(results, undefined, 2)}\n`);
  console.log(`\n${file}`);
}
