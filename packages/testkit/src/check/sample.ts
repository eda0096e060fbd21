// Varies a sample: each message is about things of its own.
import { randomUUID } from 'node:crypto';

const UUID = /[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}/gi;
const PLACEHOLDER = /\{uuid\}/g;

/**
 * A copy with new ids: the same id in two places stays the same in both.
 * @param keep paths whose ids stay as they are, e.g. `data.userId`
 */
export function varied<Value>(sample: Value, keep: readonly string[] = [], path = 'data'): Value {
  const ids = new Map<string, string>();
  const renamed = (id: string): string => {
    const key = id.toLowerCase();
    const known = ids.get(key) ?? randomUUID();
    ids.set(key, known);
    return known;
  };
  const visit = (value: unknown, at: string): unknown => {
    if (keep.includes(at)) return value;
    if (typeof value === 'string')
      return value.replace(UUID, renamed).replace(PLACEHOLDER, () => renamed('{uuid}'));
    if (Array.isArray(value)) return value.map((item, index) => visit(item, `${at}.${index}`));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [name, visit(item, `${at}.${name}`)]),
    );
  };
  return visit(sample, path) as Value;
}

/** The first UUID among the fields of the data: the aggregate, if the sample does not name one. */
export const firstId = (data: object): string | undefined =>
  Object.values(data).find(
    (value) => typeof value === 'string' && new RegExp(`^${UUID.source}$`, 'i').test(value),
  );

/** The value at a path such as `data.orderId`; undefined if there is none. */
export const valueAt = (event: unknown, path: string): unknown =>
  path
    .split('.')
    .reduce<unknown>(
      (value, name) =>
        typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined,
      event,
    );

/** The data of a sample, which may be a whole event. */
export const dataOf = (sample: object): object =>
  'specversion' in sample && 'data' in sample ? (sample.data as object) : sample;
