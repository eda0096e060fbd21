// The retry ladder of a service, as its delay queues show it.
import { CheckError } from './options.ts';

export interface RetryLevel {
  /** e.g. `10s`: the routing key on `SERVICE.retry`, and the end of the queue's name. */
  name: string;
  ms: number;
}

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** @returns undefined if the name is not a duration */
export function levelOf(name: string): RetryLevel | undefined {
  const [, count, unit] = /^(\d+)(ms|s|m|h|d)$/.exec(name) ?? [];
  return count === undefined ? undefined : { name, ms: Number(count) * (UNITS[unit as string] as number) };
}

/** @throws {CheckError} */
export const parseLevels = (text: string): RetryLevel[] =>
  text.split(',').map((part) => {
    const level = levelOf(part.trim());
    if (level === undefined) throw new CheckError(`retry delays: '${part}' has to be a duration such as 10s`);
    return level;
  });

export const byDuration = (levels: readonly RetryLevel[]): RetryLevel[] =>
  levels.toSorted((a, b) => a.ms - b.ms);
