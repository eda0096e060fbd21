// The life of an order, as one table: what each event makes of an order in each status. Events come in any order and more than
// once, so every pair has an answer.

export type Status = 'pending' | 'paid' | 'cancelled';

/** What can happen to an order once it is placed: `timeout` is nobody having paid within PAYMENT_TIMEOUT. */
export type SagaEvent = 'payment.processed' | 'payment.failed' | 'payment.refunded' | 'timeout';

export interface Transition {
  /** The status from now on; the same one when the event changes nothing. */
  to: Status;
  /** What the others are told. */
  tells?: 'order.confirmed' | 'order.cancelled';
}

/** What payment would not do, for a payment is taken once and given back after a cancellation alone. */
const refused = undefined;

export const transitions: Record<Status, Record<SagaEvent, Transition | typeof refused>> = {
  pending: {
    'payment.processed': { to: 'paid', tells: 'order.confirmed' },
    'payment.failed': { to: 'cancelled', tells: 'order.cancelled' },
    'payment.refunded': refused,
    timeout: { to: 'cancelled', tells: 'order.cancelled' },
  },
  paid: {
    'payment.processed': refused,
    'payment.failed': refused,
    'payment.refunded': refused,
    timeout: { to: 'paid' }, // was on its way when the payment came
  },
  cancelled: {
    'payment.processed': { to: 'cancelled' }, // too late: payment hears order.cancelled, and gives it back
    'payment.failed': { to: 'cancelled' }, // the charge that was under way at the timeout
    'payment.refunded': { to: 'cancelled' },
    timeout: { to: 'cancelled' }, // was on its way when the payment failed
  },
};
