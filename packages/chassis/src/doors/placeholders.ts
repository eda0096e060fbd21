/** SQL with the placeholders `$1`, `$2`, …, taken apart for drivers that write them another way. */
export function splitPlaceholders(
  text: string,
  values: readonly unknown[],
): { texts: string[]; values: unknown[] } {
  const parts = text.split(/\$(\d+)/);
  return {
    texts: parts.filter((_, i) => i % 2 === 0),
    values: parts.filter((_, i) => i % 2 === 1).map((number) => values[Number(number) - 1]),
  };
}
