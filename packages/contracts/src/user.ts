import Joi from 'joi';
import { defineEvent, uuid } from './event.ts';

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
    name: Joi.string().max(200).required(),
    email: Joi.string().email({ tlds: false }).max(254).required(),
  },
});
