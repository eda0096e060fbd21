import { defineEvent, defineMethod, Joi, text, uuid } from '@warren/events';
import { type Currency, currency, money } from './money.ts';

export interface OrderCreated {
  orderId: string;
  userId: string;
  productName: string;
  price: number;
  currency: Currency;
}

export interface OrderCancelled extends OrderCreated {
  /** e.g. `limit_exceeded`, `payment_timeout` */
  reason: string;
}

export interface Order extends OrderCreated {
  status: 'pending' | 'paid' | 'cancelled';
  /** ISO 8601, UTC */
  createdAt: string;
}

const facts = {
  orderId: uuid().required(),
  userId: uuid().required(),
  productName: text(200).required(),
  price: money().required(),
  currency: currency().required(),
};

/** An order was placed, and waits for its payment. From: order. */
export const orderCreated = defineEvent<OrderCreated>({ type: 'order.created', version: 1, data: facts });

/** An order is paid. From: order. */
export const orderConfirmed = defineEvent<OrderCreated>({ type: 'order.confirmed', version: 1, data: facts });

/** An order will not be carried out; a payment for it is refunded. From: order. */
export const orderCancelled = defineEvent<OrderCancelled>({
  type: 'order.cancelled',
  version: 1,
  data: { ...facts, reason: text(200).required() },
});

/** The newest 100 orders of a user, oldest first. Handled by: order. */
export const listOrders = defineMethod<{ userId: string }, { items: Order[] }>({
  method: 'order.list',
  version: 1,
  callers: ['gateway'],
  access: { owner: 'userId' },
  request: { userId: uuid().required() },
  reply: {
    items: Joi.array()
      .items(
        Joi.object({
          ...facts,
          status: Joi.valid('pending', 'paid', 'cancelled').required(),
          createdAt: Joi.string().isoDate().required(),
        }),
      )
      .required(),
  },
});
