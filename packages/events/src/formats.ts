// Timestamps and media types, as CloudEvents writes them.

const RFC3339 =
  /^(\d{4})-(\d\d)-(\d\d)T([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/;

/**
 * Reads an RFC 3339 timestamp; `t` and `z` may be lower case. A leap second counts as the second before it.
 * @returns undefined when the text is not one
 */
export function parseTimestamp(text: string): Date | undefined {
  const upper = text.toUpperCase();
  const [, year, month, day] = RFC3339.exec(upper) ?? [];
  // Date takes 30 February for 2 March.
  if (new Date(`${year}-${month}-${day}T00:00:00Z`).getUTCDate() !== Number(day)) return undefined;
  return new Date(upper.replace(/:60(?=[.Z+-])/, ':59'));
}

// RFC 2045 section 5.1, with the tokens and quoted strings of RFC 9110.
const TOKEN = "[\\w!#$%&'*+.^`|~-]+";
const PARAMETER = `[ \\t]*;[ \\t]*${TOKEN}=(?:${TOKEN}|"(?:[^"\\\\]|\\\\.)*")`;
const MEDIA_TYPE = new RegExp(`^${TOKEN}/(${TOKEN})(?:${PARAMETER})*[ \\t]*;?[ \\t]*$`);

/**
 * The subtype of a media type in lower case, e.g. `json` of `Application/JSON; charset=utf-8`.
 * @returns undefined when the text is not a media type
 */
export function subtypeOf(mediaType: string): string | undefined {
  return MEDIA_TYPE.exec(mediaType)?.[1]?.toLowerCase();
}
