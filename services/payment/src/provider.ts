// The port to the payment provider. The rest of this service depends only on this file.
import type { Currency } from '@warren/contracts';

/** Time limit of a request, ms; then it is repeated under the same key. */
export const PROVIDER_TIMEOUT = 10_000;

export interface Charge {
  /** The provider's idempotency key: the same for every attempt at this charge, and for no other. */
  key: string;
  /** The order's id, for both sides' books. */
  reference: string;
  /** Minor units */
  amount: number;
  currency: Currency;
}

/** Refunds a whole charge. */
export interface Refund {
  key: string;
  /** The key of the charge. */
  charge: string;
}

/** A final decision: every repeat returns the same. */
export type Outcome = { outcome: 'accepted' } | { outcome: 'declined'; reason: string };

/**
 * An implementation must guarantee:
 * - A repeated request under the same key has no second effect and returns the same decision: across processes, restarts and
 *   concurrent requests. If the provider forgets keys, it keeps them longer than a task is retried.
 * - A charge is `declined` only if no money was taken, and none will be under this key.
 * - If the outcome is not certain, it throws one of the errors below. The request is then repeated under its key.
 * - It returns or throws when `signal` is aborted, and keeps no transaction of this service open.
 */
export interface PaymentProvider {
  /** @throws {ProviderError} */
  charge(charge: Charge, signal: AbortSignal): Promise<Outcome>;
  /** @throws {ProviderError} */
  refund(refund: Refund, signal: AbortSignal): Promise<void>;
}

export type ProviderErrorCode =
  /** No effect. */
  | 'provider_unavailable'
  /** The effect is unknown. */
  | 'provider_timeout'
  /** The request is invalid: a key that was used for another request, a refund without a charge. An operator must act. */
  | 'provider_refused';

export class ProviderError extends Error {
  override readonly name = 'ProviderError';
  readonly code: ProviderErrorCode;

  constructor(code: ProviderErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
