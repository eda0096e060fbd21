// The lifecycle of an order as one table: the transition for each event in each status. Events arrive in any order and more than
// once, so the table covers every pair.

export type Status = 'pending' | 'paid' | 'cancelled';

/** What can happen to a placed order. `timeout`: it was not paid within PAYMENT_TIMEOUT. */
export type SagaEvent = 'payment.processed' | 'payment.failed' | 'payment.refunded' | 'timeout';

export interface Transition {
  /** The new status; the same one when the event changes nothing. */
  to: Status;
  /** The event to emit. */
  emits?: 'order.confirmed' | 'order.cancelled';
}

/** Cannot happen: payment charges once, and refunds only after a cancellation. */
const refused = undefined;

export const transitions: Record<Status, Record<SagaEvent, Transition | typeof refused>> = {
  pending: {
    'payment.processed': { to: 'paid', emits: 'order.confirmed' },
    'payment.failed': { to: 'cancelled', emits: 'order.cancelled' },
    'payment.refunded': refused,
    timeout: { to: 'cancelled', emits: 'order.cancelled' },
  },
  paid: {
    'payment.processed': refused,
    'payment.failed': refused,
    'payment.refunded': refused,
    timeout: { to: 'paid' }, // was in flight when the payment arrived
  },
  cancelled: {
    'payment.processed': { to: 'cancelled' }, // too late: payment consumes order.cancelled and refunds it
    'payment.failed': { to: 'cancelled' }, // the charge that was in flight at the timeout
    'payment.refunded': { to: 'cancelled' },
    timeout: { to: 'cancelled' }, // was in flight when the payment failed
  },
};
