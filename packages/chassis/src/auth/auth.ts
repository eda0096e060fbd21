// Authentication for the parts of the chassis; absent with AUTH=off.
import type { ChassisConfig } from '../config.ts';
import type { Logger } from '../context.ts';
import type { Caller } from './caller.ts';
import { Keys } from './keys.ts';
import { Verifier } from './verify.ts';

export interface Auth {
  /** As `Verifier.callerOf`. */
  callerOf(authorization: string | undefined): Caller | Promise<Caller>;
  /** The service that may name the user on whose behalf it calls a method. */
  gateway: string;
  /** Whether keys were fetched; without keys no token can be verified. */
  readonly hasKeys: boolean;
}

/** @returns undefined with AUTH=off, which is logged */
export function createAuth(config: ChassisConfig, log: Logger, now: () => Date): Auth | undefined {
  if (config.AUTH === 'off') {
    log.info('AUTH=off: every request is accepted without a token');
    return undefined;
  }
  const keys = new Keys({
    url: config.AUTH_JWKS_URL as string,
    refresh: config.AUTH_KEYS_REFRESH,
    log,
    now,
  });
  const verifier = new Verifier({
    issuer: config.AUTH_ISSUER as string,
    audience: config.AUTH_AUDIENCE as string,
    subjectClaim: config.AUTH_SUBJECT_CLAIM,
    rolesClaim: config.AUTH_ROLES_CLAIM,
    keys,
    now,
  });
  void keys.fresh();
  return {
    callerOf: (authorization) => verifier.callerOf(authorization),
    gateway: config.AUTH_GATEWAY,
    get hasKeys() {
      return keys.available;
    },
  };
}
