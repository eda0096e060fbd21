/** The value that `share` (0 to 1) of them do not exceed; NaN when there are none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

/** Prints a measured figure under the test that measured it. */
export function figure(what: string, value: number, unit = ''): void {
  console.log(
    `        ${what}: ${Number.isInteger(value) ? value : value.toPrecision(3)}${unit && ` ${unit}`}`,
  );
}

export const ratio = (one: number, other: number): number => one / other;
