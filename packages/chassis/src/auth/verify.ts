// Verifies bearer tokens: JWTs of one issuer for one audience. Results are cached until the token expires or the keys change.
import { errors, type JWTPayload, jwtVerify } from 'jose';
import { asError, type Problem, problem } from '../errors.ts';
import { unauthorized } from './access.ts';
import { ANONYMOUS, type Caller, identified, rolesOf } from './caller.ts';
import type { Keys } from './keys.ts';

export interface VerifyOptions {
  issuer: string;
  audience: string;
  /** The claim that holds the id of the user, and the one that holds the roles. */
  subjectClaim: string;
  rolesClaim: string;
  keys: Keys;
  now: () => Date;
}

interface Verified {
  caller: Caller;
  /** ms of the clock. */
  until: number;
  generation: number;
}

/** Signatures with a private key alone: neither `none`, nor an HMAC, whose secret could be the public key. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];
/** Seconds that the clocks of issuer and service may differ. */
const CLOCK_SKEW_S = 5;
/** Tokens whose result is cached; each has a few hundred bytes to a few KiB. */
const MAX_CACHED_TOKENS = 5_000;
const BEARER = /^bearer(?: +|$)/i;
const MAX_SUBJECT_CHARS = 255;

export class Verifier {
  readonly #options: VerifyOptions;
  /** By the header as it came; the oldest first. */
  readonly #verified = new Map<string, Verified>();

  constructor(options: VerifyOptions) {
    this.#options = options;
  }

  /**
   * Who sends this `Authorization` header; anonymous without one, or with one of another scheme.
   * @throws {Problem} 401 `token_invalid`; 503 `keys_unavailable`, while no keys have been fetched
   */
  callerOf(header: string | undefined): Caller | Promise<Caller> {
    if (header === undefined) return ANONYMOUS;
    const { keys, now } = this.#options;
    const waiting = keys.fresh();
    if (waiting !== undefined) return waiting.then(() => this.#verify(header));
    const known = this.#verified.get(header);
    if (known !== undefined && known.generation === keys.generation && now().getTime() < known.until)
      return known.caller;
    return this.#verify(header);
  }

  async #verify(header: string): Promise<Caller> {
    if (!BEARER.test(header)) return ANONYMOUS;
    const { issuer, audience, keys, now } = this.#options;
    if (!keys.available) throw keysUnavailable();
    const { generation } = keys;
    try {
      const { payload } = await jwtVerify(
        header.replace(BEARER, '').trim(),
        (protectedHeader, token) => keys.find(protectedHeader, token),
        {
          issuer,
          audience,
          algorithms: ALGORITHMS,
          clockTolerance: CLOCK_SKEW_S,
          currentDate: now(),
          requiredClaims: ['exp'],
        },
      );
      const caller = this.#read(payload);
      const until = ((payload.exp as number) + CLOCK_SKEW_S) * 1_000;
      if (generation === keys.generation) this.#keep(header, { caller, until, generation });
      return caller;
    } catch (error) {
      // It may be signed with a new key that cannot be fetched now.
      if (error instanceof errors.JWKSNoMatchingKey && keys.failing) throw keysUnavailable();
      throw unauthorized('token_invalid', reasonOf(error));
    }
  }

  #read(payload: JWTPayload): Caller {
    const { subjectClaim, rolesClaim } = this.#options;
    const subject = claimOf(payload, subjectClaim);
    return identified(isSubject(subject) ? subject : undefined, rolesOf(claimOf(payload, rolesClaim)));
  }

  #keep(header: string, verified: Verified): void {
    this.#verified.delete(header);
    this.#verified.set(header, verified);
    if (this.#verified.size <= MAX_CACHED_TOKENS) return;
    const [oldest] = this.#verified.keys();
    this.#verified.delete(oldest as string);
  }
}

const isSubject = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && value.length <= MAX_SUBJECT_CHARS;

/** The claim of that name; or, with dots in the name, the field that they lead to: `realm_access.roles`. */
export function claimOf(payload: JWTPayload, name: string): unknown {
  if (Object.hasOwn(payload, name)) return payload[name];
  let value: unknown = payload;
  for (const field of name.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, field)) return undefined;
    value = (value as Record<string, unknown>)[field];
  }
  return value;
}

/** One sentence for the client, in printable ASCII without quotes: it goes into a header as well. */
function reasonOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'The token has expired.';
  if (error instanceof errors.JWTClaimValidationFailed) {
    const { claim } = error;
    if (claim === 'nbf') return 'The token is not valid yet.';
    if (claim === 'iss') return 'The token is from another issuer.';
    if (claim === 'aud') return 'The token is for another audience.';
    return 'A claim of the token is missing or invalid.';
  }
  if (error instanceof errors.JOSEAlgNotAllowed)
    return 'The token is signed with an algorithm that is not accepted.';
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return 'The token is signed with a key that the issuer does not publish.';
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'The signature of the token is invalid.';
  if (error instanceof errors.JOSEError) return 'The token is malformed.';
  throw asError(error);
}

const keysUnavailable = (): Problem =>
  problem(503, {
    title: 'Issuer keys unavailable',
    code: 'keys_unavailable',
    detail: 'Cannot verify tokens: the keys of the issuer are unavailable; try again shortly.',
    headers: { 'retry-after': '2' },
  });
