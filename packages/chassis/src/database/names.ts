// Statements are prepared once a connection, under a name: planning is two fifths of what PostgreSQL does for a small statement.

/** Statements that have a name. What is made of lists of any length must not fill the server's memory: it is parsed each time. */
const NAMED_AT_MOST = 500;

const names = new Map<string, string>();
let generation = 0;
let isOff = false;

/** The name that this statement is prepared under; undefined where it is not to be prepared. */
export function nameOf(text: string): string | undefined {
  const known = names.get(text);
  if (known !== undefined) return known;
  if (isOff || names.size >= NAMED_AT_MOST) return undefined;
  const name = `warren_${generation}_${names.size}`;
  names.set(text, name);
  return name;
}

/** The prepared statement is at fault, not what it does: under another name it may succeed. */
export function isStaleStatement(error: unknown): boolean {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: string };
  // The table has got a column since, e.g. by the migration of a newer version.
  if (code === '0A000') return /cached plan must not change result type/.test(message ?? '');
  return isUnknown(code);
}

/** A pooler in transaction mode has it prepared by one server connection, and run by another. */
const isUnknown = (code: unknown) => code === '26000' || code === '42P05';

/**
 * After a stale statement all get other names; behind a pooler that does not know them, none.
 * @returns whether the error was that of a stale statement
 */
export function forgetNames(error: unknown): boolean {
  if (!isStaleStatement(error)) return false;
  generation += 1;
  names.clear();
  if (isUnknown((error as { code?: unknown }).code)) isOff = true;
  return true;
}
