// Durations as people write them: 500ms 30s 15m 24h 30d, or a bare number of seconds.

const MILLISECONDS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
type Unit = keyof typeof MILLISECONDS;

/** A century. A longer duration is a mistake, and leads to dates that not every format can represent. */
const MAX_DURATION_MS = 36_525 * MILLISECONDS.d;

/**
 * @returns milliseconds; undefined if the text is not a duration, or longer than a century
 * @example parseDuration('15m') // 900000
 */
export function parseDuration(text: string): number | undefined {
  const [, digits, unit = 's'] = /^(\d{1,15}(?:\.\d{1,3})?)(ms|s|m|h|d)?$/.exec(text.trim()) ?? [];
  if (digits === undefined) return undefined;
  const milliseconds = Math.round(Number(digits) * MILLISECONDS[unit as Unit]);
  return milliseconds <= MAX_DURATION_MS ? milliseconds : undefined;
}
