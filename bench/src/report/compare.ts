// A system's figures over all rounds, and as ratios to the reference in the same round.
import type { FlowResult } from '../flow.ts';
import { type Spread, spreadOf } from '../statistics.ts';

/** A figure of one run; undefined where the run has none, or failed. */
export type Figure = (run: FlowResult) => number | undefined;

export const figures = {
  paidPerSecond: (run) => run.closed?.paidPerSecond,
  total: (run) => run.closed?.cost.total,
  services: (run) => run.closed?.cost.services,
  broker: (run) => run.closed?.cost.broker,
  database: (run) => run.closed?.cost.database,
  others: (run) => run.closed?.others,
  openTotal: (run) => run.open?.cost.total,
  acceptedP50: (run) => run.open?.accepted.p50,
  acceptedP99: (run) => run.open?.accepted.p99,
  paidP50: (run) => run.open?.paid.p50,
  paidP99: (run) => run.open?.paid.p99,
} satisfies Record<string, Figure>;

const sound = (run: FlowResult, figure: Figure): number | undefined =>
  run.faults.length === 0 ? figure(run) : undefined;

/** Over the rounds in which the system lost nothing. */
export function absolute(runs: readonly FlowResult[], system: string, figure: Figure): Spread | undefined {
  return spreadOf(defined(runs.filter((run) => run.system === system).map((run) => sound(run, figure))));
}

/** To the reference in the same round: what else the machine did cancels out. */
export function ratio(
  runs: readonly FlowResult[],
  system: string,
  reference: string,
  figure: Figure,
): Spread | undefined {
  const inRound = (name: string, round: number) =>
    runs.find((run) => run.system === name && run.round === round);
  return spreadOf(
    defined(
      runs
        .filter((run) => run.system === system)
        .map((run) => {
          const other = inRound(reference, run.round);
          const [own, theirs] = [sound(run, figure), other && sound(other, figure)];
          return own === undefined || theirs === undefined ? undefined : own / theirs;
        }),
    ),
  );
}

const defined = (values: readonly (number | undefined)[]): number[] =>
  values.filter((value) => value !== undefined);
