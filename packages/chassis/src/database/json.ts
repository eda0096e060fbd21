/** Finds text in JSON that PostgreSQL cannot store in a `jsonb`: a NUL, or half a surrogate pair. */
export const UNKEEPABLE = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f][\da-f]{2})/;
