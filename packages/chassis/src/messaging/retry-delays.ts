// The retry ladder: how long a failed message waits before each further attempt.
import { parseDuration } from '../duration.ts';
import { WarrenError } from '../errors.ts';

export interface RetryDelay {
  /** Its level: part of the queue's name and the routing key, e.g. `10s`. */
  name: string;
  ms: number;
}

/** e.g. `10s` */
export type Duration = `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`;

/** In a broker.ts: the ladder is that of the environment variable RETRY_DELAYS; without it `1s,10s,1m`. */
export const RETRY_DELAYS = { variable: 'RETRY_DELAYS', default: '1s,10s,1m' } as const;

/** RabbitMQ refuses a TTL of more than 49 days, and with it every message that is to be retried. */
const LONGEST_DELAY = 30 * 86_400_000;

/** @returns undefined when the text is not a list of different durations, each longer than 0 and 30 days at most */
export function parseDelays(text: string): readonly RetryDelay[] | undefined {
  const delays = text.split(',').map((item) => {
    const name = item.trim().replace(/^\d+$/, '$&s');
    return { name, ms: parseDuration(name) ?? 0 };
  });
  const different = new Set(delays.map(({ name }) => name)).size === delays.length;
  return different && delays.every(({ ms }) => ms > 0 && ms <= LONGEST_DELAY) ? delays : undefined;
}

/**
 * What a broker.ts declares as `retry`, in ms.
 * @throws {WarrenError} `invalid_service`, when it is not a valid list
 */
export function ladderOf(
  retry: readonly Duration[] | typeof RETRY_DELAYS,
  environment: readonly RetryDelay[],
): readonly RetryDelay[] {
  if (!isList(retry)) return environment;
  const delays = parseDelays(retry.join(','));
  if (delays === undefined)
    throw new WarrenError(
      'invalid_service',
      `retry: ${retry.join(',') || 'an empty list'} has to be different durations, each longer than 0 and 30d at most`,
    );
  return delays;
}

const isList = (retry: readonly Duration[] | typeof RETRY_DELAYS): retry is readonly Duration[] =>
  Array.isArray(retry);
