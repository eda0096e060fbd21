import { defineEvent, defineMethod, Joi, text, uuid } from '@warren/events';
import { type Currency, currency, money } from './money.ts';

export interface PaymentProcessed {
  paymentId: string;
  orderId: string;
  userId: string;
  amount: number;
  currency: Currency;
}

export interface PaymentFailed extends PaymentProcessed {
  /** e.g. `limit_exceeded` */
  reason: string;
}

export interface PaymentRefunded extends PaymentProcessed {
  /** Why the order was cancelled. */
  reason: string;
}

export interface Payment extends Omit<PaymentProcessed, 'paymentId'> {
  id: string;
  status: 'pending' | 'processed' | 'failed' | 'refunded' | 'void';
  reason?: string;
  /** ISO 8601, UTC */
  createdAt: string;
}

const facts = {
  paymentId: uuid().required(),
  orderId: uuid().required(),
  userId: uuid().required(),
  amount: money().required(),
  currency: currency().required(),
};

const reason = text(200).required();

/** The money for an order was taken. From: payment. */
export const paymentProcessed = defineEvent<PaymentProcessed>({
  type: 'payment.processed',
  version: 1,
  data: facts,
});

/** The money for an order was refused; nothing was taken. From: payment. */
export const paymentFailed = defineEvent<PaymentFailed>({
  type: 'payment.failed',
  version: 1,
  data: { ...facts, reason },
});

/** The money that was taken for an order was refunded. From: payment. */
export const paymentRefunded = defineEvent<PaymentRefunded>({
  type: 'payment.refunded',
  version: 1,
  data: { ...facts, reason },
});

/** The newest 100 payments for a user's orders, oldest first. Handled by: payment. */
export const listPayments = defineMethod<{ userId: string }, { items: Payment[] }>({
  method: 'payment.list',
  version: 1,
  callers: ['gateway'],
  access: { owner: 'userId' },
  request: { userId: uuid().required() },
  reply: {
    items: Joi.array()
      .items(
        Joi.object({
          id: uuid().required(),
          orderId: uuid().required(),
          userId: uuid().required(),
          amount: money().required(),
          currency: currency().required(),
          status: Joi.valid('pending', 'processed', 'failed', 'refunded', 'void').required(),
          reason: text(200),
          createdAt: Joi.string().isoDate().required(),
        }),
      )
      .required(),
  },
});
