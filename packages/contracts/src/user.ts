import { defineEvent, defineMethod, Joi, text, uuid } from '@warren/events';

export interface UserCreated {
  userId: string;
  name: string;
  email: string;
}

/** A user signed up. From: user. */
export const userCreated = defineEvent<UserCreated>({
  type: 'user.created',
  version: 1,
  data: {
    userId: uuid().required(),
    name: text(200).required().meta({ personal: true }),
    email: text(254).email({ tlds: false }).required().meta({ personal: true }),
  },
});

export interface User {
  id: string;
  name: string;
  email: string;
  /** ISO 8601, UTC */
  createdAt: string;
}

/** One user; 404 `user_unknown`. Handled by: user. */
export const findUser = defineMethod<{ userId: string }, User>({
  method: 'user.find',
  version: 1,
  callers: ['gateway'],
  access: { owner: 'userId' },
  request: { userId: uuid().required() },
  reply: {
    id: uuid().required(),
    name: Joi.string().required().meta({ personal: true }),
    email: Joi.string().required().meta({ personal: true }),
    createdAt: Joi.string().isoDate().required(),
  },
});
