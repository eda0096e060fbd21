/** In a JSON text: what JSON can say and PostgreSQL cannot keep in a `jsonb`, a NUL or half a surrogate pair. */
export const UNKEEPABLE = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f][\da-f]{2})/;
