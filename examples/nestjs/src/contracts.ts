import { defineEvent, defineMethod, Joi } from '@warren/events';

export interface LoyaltyPoints {
  userId: string;
  orderId: string;
  /** Earned by this order. */
  earned: number;
  /** Of the user, after it. */
  total: number;
}

const points = () => Joi.number().integer().min(0).required();

/** A user has earned points. From: loyalty. No other service has to consume it. */
export const loyaltyPoints = defineEvent<LoyaltyPoints>({
  type: 'loyalty.points',
  version: 1,
  data: {
    userId: Joi.string().guid().required(),
    orderId: Joi.string().guid().required(),
    earned: points(),
    total: points(),
  },
  mayGoUnconsumed: true,
});

/** The points of a user; 0 for one who has no order. Handled by: loyalty. */
export const findLoyalty = defineMethod<{ userId: string }, { userId: string; points: number }>({
  method: 'loyalty.find',
  version: 1,
  callers: ['gateway'],
  access: { owner: 'userId' },
  request: { userId: Joi.string().guid().required() },
  reply: { userId: Joi.string().guid().required(), points: points() },
});
