// The port to whoever moves the money. This service knows a provider by this page alone.
import type { Currency } from '@warren/contracts';

/** ms that a provider may take; then the charge is asked for again, under the same key. */
export const PROVIDER_TIMEOUT = 10_000;

export interface Charge {
  /** The provider's idempotency key: the same for every attempt at this charge, and for no other. */
  key: string;
  /** What the money is for, as both sides' books call it: the order's id. */
  reference: string;
  /** Minor units */
  amount: number;
  currency: Currency;
}

/** All of a charge goes back. */
export interface Refund {
  key: string;
  /** The key of the charge. */
  charge: string;
}

/** A decision for good: it is the same at every repeat. */
export type Outcome = { outcome: 'accepted' } | { outcome: 'declined'; reason: string };

/**
 * What an implementation must keep:
 * - A request under a key that was decided before has no second effect and the same answer: across processes, restarts, and
 *   requests at the same time. Where the provider keeps keys for a while only, that is longer than a task is tried again.
 * - A charge is `declined` only when no money was taken and none will be under this key.
 * - Whatever is not known for sure is thrown, as one of the errors below. The request is then repeated under its key.
 * - It answers or throws when `signal` is aborted, and keeps no transaction of this service's open.
 */
export interface PaymentProvider {
  /** @throws {ProviderError} */
  charge(charge: Charge, signal: AbortSignal): Promise<Outcome>;
  /** @throws {ProviderError} */
  refund(refund: Refund, signal: AbortSignal): Promise<void>;
}

export type ProviderErrorCode =
  /** Nothing was done. */
  | 'provider_unavailable'
  /** It may have been done, or not. */
  | 'provider_timeout'
  /** Refused as it stands: a key used for something else, a refund of what was not taken. A repeat needs a person first. */
  | 'provider_refused';

export class ProviderError extends Error {
  override readonly name = 'ProviderError';
  readonly code: ProviderErrorCode;

  constructor(code: ProviderErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
