// Figures for the terminal.
import type { FlowResult } from '../flow.ts';
import type { FootprintResult } from '../footprint.ts';
import type { GrowthResult } from '../growth.ts';
import type { MessagingResult } from '../messaging.ts';
import type { SignUpResult } from '../sign-ups.ts';
import type { Spread } from '../statistics.ts';
import { absolute, figures, ratio } from './compare.ts';
import type { Results } from './results.ts';

/** One line when a run has ended, and one for each fault. */
export function printRun({ system, round, closed, open, faults }: FlowResult): void {
  const words = [`round ${round}  ${system.padEnd(15)}`];
  if (closed)
    words.push(
      `${closed.paidPerSecond.toFixed(0).padStart(5)} paid/s`,
      `${closed.cost.total.toFixed(0).padStart(6)} µs`,
    );
  if (open)
    words.push(
      `at ${open.rate}/s: accepted p99 ${open.accepted.p99.toFixed(0)} ms, paid p99 ${open.paid.p99.toFixed(0)} ms`,
    );
  if (closed) words.push(`others ${closed.others.toFixed(2)} cores`);
  console.log(words.join('  '));
  printFaults(faults);
}

export function printFlow({ systems, runs, reference }: Results['flow']): void {
  console.log(
    `\n${'median (ratio to the reference)'.padEnd(26)} ${['paid/s', 'CPU µs', 'services', 'broker', 'database', 'paid p99 ms'].map((name) => name.padStart(16)).join('')}`,
  );
  for (const { name, title } of systems) {
    const cells = [
      figures.paidPerSecond,
      figures.total,
      figures.services,
      figures.broker,
      figures.database,
      figures.paidP99,
    ].map((figure) => {
      const own = absolute(runs, name, figure);
      const relative = ratio(runs, name, reference, figure);
      return `${rounded(own)} (${relative ? relative.median.toFixed(2) : '–'})`.padStart(16);
    });
    console.log(`${title.padEnd(32)}${cells.join('')}`);
  }
}

const rounded = (spread: Spread | undefined): string => (spread ? spread.median.toFixed(0) : 'FAILED');

export function printMessaging(result: MessagingResult): MessagingResult {
  const { kind, title, round, perSecond, cost, faults } = result;
  const costs = cost === undefined ? '' : `  ${cost.toFixed(0)} µs of CPU`;
  console.log(
    `round ${round}  ${kind}  ${title.padEnd(22)} ${perSecond.toFixed(0).padStart(6)} messages/s${costs}`,
  );
  printFaults(faults);
  return result;
}

export function printSignUps(result: SignUpResult): SignUpResult {
  const { title, round, signUps, rate, cost, accepted, lastEmailSeconds, restarts, faults } = result;
  const words = [
    `round ${round}  ${title.padEnd(14)} ${signUps} sign-ups at ${rate}/s: accepted p99 ${accepted.p99.toFixed(0)} ms`,
    `last e-mail after ${lastEmailSeconds.toFixed(1)} s`,
  ];
  if (cost)
    words.push(
      `CPU ${[cost.services, cost.broker, cost.database].map((each) => each.toFixed(0)).join(' + ')} µs`,
    );
  if (restarts)
    words.push(
      `${restarts.services} services restarted in ${restarts.seconds.toFixed(0)} s, ${restarts.repeats} requests repeated`,
    );
  console.log(words.join('  '));
  printFaults(faults);
  return result;
}

export function printFootprint(result: FootprintResult): FootprintResult {
  const { title, round, services, broker, database, faults } = result;
  console.log(
    `round ${round}  at rest  ${title}: broker ${percent(broker)}, PostgreSQL ${percent(database)} of a core`,
  );
  for (const [service, { ready, rss, cpu }] of Object.entries(services))
    console.log(
      `    ${service.padEnd(10)} ready in ${ready.toFixed(0).padStart(5)} ms  ${(rss / 1_000_000).toFixed(0).padStart(4)} MB  ${percent(cpu)} of a core`,
    );
  printFaults(faults);
  return result;
}

export function printGrowth({ of, value, title, round, cost, perSecond, faults }: GrowthResult): void {
  const figures =
    cost === undefined || perSecond === undefined
      ? ''
      : `${cost.toFixed(0).padStart(6)} µs of CPU  ${perSecond.toFixed(0).padStart(6)}/s`;
  console.log(`round ${round}  ${value} ${of}  ${title}  ${figures}`);
  printFaults(faults);
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

function printFaults(faults: readonly string[]): void {
  for (const fault of faults) console.log(`  FAILED: ${fault}`);
}
