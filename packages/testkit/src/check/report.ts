// The report for people.
import type { CheckReport, CheckResult, Verdict } from './options.ts';

const LABELS: Record<Verdict, string> = { kept: 'kept', broken: 'BROKEN', 'not checked': 'not checked' };

/** One line a check, then its faults, then the totals. */
export function textOf({ queue, service, user, broker, checks }: CheckReport): string {
  const head = `${queue ?? `${service}.rpc`}, consumed by the user ${user} at ${broker}`;
  const count = (verdict: Verdict) => checks.filter((each) => each.verdict === verdict).length;
  const totals = (Object.keys(LABELS) as Verdict[])
    .map((verdict) => `${count(verdict)} ${verdict}`)
    .join(', ');
  return [head, '', ...checks.flatMap(linesOf), '', totals].join('\n');
}

function linesOf({ check, verdict, reasons, ms }: CheckResult): string[] {
  const line = `${LABELS[verdict].padEnd(13)}${check.padEnd(16)}${(ms / 1_000).toFixed(1).padStart(5)} s`;
  return [line, ...reasons.map((reason) => `${' '.repeat(13)}- ${reason}`)];
}
