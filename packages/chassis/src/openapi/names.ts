// Names in a document.
import { isDeepStrictEqual } from 'node:util';

export const pascal = (text: string): string =>
  text.replace(
    /[^a-zA-Z0-9]*([a-zA-Z0-9]+)[^a-zA-Z0-9]*/g,
    (_, word: string) => word[0]?.toUpperCase() + word.slice(1),
  );

export function unique(wanted: string, taken: Set<string>): string {
  const name = freeName(wanted, (each) => !taken.has(each));
  taken.add(name);
  return name;
}

/** The name, or the first of name2, name3, … that is free. */
export function freeName(wanted: string, isFree: (name: string) => boolean): string {
  for (let name = wanted, count = 2; ; name = `${wanted}${count}`, count += 1) if (isFree(name)) return name;
}

export const sorted = <T>(parts: Record<string, T>): Record<string, T> =>
  Object.fromEntries(Object.entries(parts).sort(([a], [b]) => (a < b ? -1 : 1)));

/** Whether two values are equal, in any order of fields. */
export const same = (one: unknown, other: unknown): boolean => isDeepStrictEqual(one, other);
