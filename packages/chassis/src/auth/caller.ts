// The caller, from a verified token or from the headers that the gateway sends over the broker.

export interface Caller {
  /**
   * `anonymous`: without a token. `user`: with a token. `operator`: with a token that has the role `operator`.
   * `service`: another service, over the broker and in its own name.
   */
  readonly kind: 'anonymous' | 'user' | 'operator' | 'service';
  /** The id of the user, from AUTH_SUBJECT_CLAIM; absent where the token does not have it. */
  readonly subject?: string;
  readonly roles: readonly string[];
}

const OPERATOR = 'operator';

export const ANONYMOUS: Caller = Object.freeze({ kind: 'anonymous', roles: [] });

/** A service that the contract of a method names as its caller. */
export const SERVICE: Caller = Object.freeze({ kind: 'service', roles: [] });

/** The caller of a verified token. */
export const identified = (subject: string | undefined, roles: readonly string[]): Caller =>
  Object.freeze({
    kind: roles.includes(OPERATOR) ? 'operator' : 'user',
    ...(subject !== undefined && { subject }),
    roles,
  });

/** A list of names, or names with spaces between them. */
export function rolesOf(value: unknown): readonly string[] {
  const names = typeof value === 'string' ? value.split(' ') : Array.isArray(value) ? value : [];
  return Object.freeze(names.filter((name): name is string => typeof name === 'string' && name !== ''));
}
