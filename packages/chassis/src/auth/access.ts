// Authorisation of routes and methods. With AUTH=off the caller is undefined, and everything is allowed.
import { type Problem, problem, WarrenError } from '../errors.ts';
import type { Caller } from './caller.ts';

/**
 * The rule of a route.
 * - `public`: everyone, even without a token.
 * - `own(…)`: the user whose id is in the request; operators too if the route reads.
 * - `own`: the same, but only the handler knows the user: it calls `authorise(owner)` before it responds.
 * - `operator`: the role `operator`.
 */
export type Access = 'public' | 'operator' | 'own' | Own;

export interface Own {
  /** The id of the owner, from the validated request. */
  // biome-ignore lint/suspicious/noExplicitAny: each route has a request of its own type
  owner(request: any): string;
}

/** @example access: own(({ query }) => query.userId) */
// biome-ignore lint/suspicious/noExplicitAny: see Own
export const own = (owner: (request: any) => string): Own => ({ owner });

/** What the handler of a route gets besides its context. */
export interface Authorising {
  /**
   * Names the owners of the data that the handler returns or changes; none if it found nothing. A route with `access: 'own'` that
   * responds without this call fails with 500.
   * @throws {Problem} 403, if the caller is not their owner
   */
  authorise(owners: string | readonly string[]): void;
}

/** What a caller wants to do: operators may read the data of others, and not change it. */
export type Deed = 'read' | 'write';

const REALM = 'Bearer realm="warren"';

/** @param code `token_missing` or `token_invalid` */
export const unauthorized = (code: 'token_missing' | 'token_invalid', detail: string): Problem =>
  problem(401, {
    code,
    detail,
    // https://www.rfc-editor.org/rfc/rfc6750#section-3
    headers: {
      'www-authenticate':
        code === 'token_missing' ? REALM : `${REALM}, error="invalid_token", error_description="${detail}"`,
    },
  });

const forbidden = (detail: string): Problem =>
  problem(403, {
    detail,
    headers: { 'www-authenticate': `${REALM}, error="insufficient_scope", error_description="${detail}"` },
  });

/**
 * Checks that the caller may call such a route at all.
 * @throws {Problem} 401, 403
 */
export function admit(access: Access | { owner: unknown }, caller: Caller | undefined): void {
  if (access === 'public' || caller === undefined) return;
  if (caller.kind === 'operator' || caller.kind === 'service') return;
  if (caller.kind === 'anonymous')
    throw unauthorized('token_missing', 'A token is required: Authorization: Bearer TOKEN.');
  if (access === 'operator') throw forbidden('The role operator is required.');
  if (caller.subject === undefined)
    throw forbidden('The token does not name a user; sign up, then request a new token.');
}

/** @throws {Problem} 403 */
export function requireOwner(caller: Caller | undefined, deed: Deed, owners: readonly string[]): void {
  if (caller === undefined || caller.kind === 'service') return;
  if (deed === 'read' && caller.kind === 'operator') return;
  if (owners.some((owner) => owner !== caller.subject)) throw forbidden('The data belongs to another user.');
}

/** The owners that one run of a handler names. */
export class Ownership {
  readonly #caller: Caller | undefined;
  readonly #deed: Deed;
  #owners: readonly string[] | undefined;

  constructor(caller: Caller | undefined, deed: Deed) {
    this.#caller = caller;
    this.#deed = deed;
  }

  /** Undefined until the handler has named them. */
  get owners(): readonly string[] | undefined {
    return this.#owners;
  }

  readonly authorise: Authorising['authorise'] = (owners) => {
    const named = typeof owners === 'string' ? [owners] : owners;
    this.#owners = this.#owners === undefined ? named : [...this.#owners, ...named];
    requireOwner(this.#caller, this.#deed, named);
  };
}

/** A mistake of the service. It is reported with AUTH=off too, so that tests find it. */
export const unnamedOwner = (route: string): WarrenError =>
  new WarrenError('owner_unnamed', `${route}: the handler must call authorise(owner) before it responds`);
