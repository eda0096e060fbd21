// Lengths of time as people write them: 500ms 30s 15m 24h 30d, or a bare number of seconds.

const MILLISECONDS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
type Unit = keyof typeof MILLISECONDS;

/** A century: what is longer is a slip, and dates so far off cannot be written down everywhere. */
const LONGEST = 36_525 * MILLISECONDS.d;

/**
 * @returns milliseconds; undefined when the text is no duration, or longer than a century
 * @example parseDuration('15m') // 900000
 */
export function parseDuration(text: string): number | undefined {
  const [, digits, unit = 's'] = /^(\d{1,15}(?:\.\d{1,3})?)(ms|s|m|h|d)?$/.exec(text.trim()) ?? [];
  if (digits === undefined) return undefined;
  const milliseconds = Math.round(Number(digits) * MILLISECONDS[unit as Unit]);
  return milliseconds <= LONGEST ? milliseconds : undefined;
}
