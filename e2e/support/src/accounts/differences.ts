export const none = { missing: [], extra: [] };

/** What is in one list and not in the other, each as often as it is too many; at most ten of each are told. */
export function differences(found: readonly string[], wanted: readonly string[]) {
  const balance = new Map<string, number>();
  for (const value of wanted) balance.set(value, (balance.get(value) ?? 0) - 1);
  for (const value of found) balance.set(value, (balance.get(value) ?? 0) + 1);
  const of = (sign: number) => [...balance].filter(([, n]) => n * sign > 0).map(([value]) => value);
  return { missing: told(of(-1)), extra: told(of(1)) };
}

/** At most ten of them, and how many there are. */
export const told = (values: string[]): string[] =>
  values.length > 10 ? [...values.slice(0, 10), `… ${values.length} in all`] : values;

export const unique = <T>(values: readonly T[]): T[] => [...new Set(values)];
