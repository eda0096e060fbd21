import Joi from 'joi';
import { defineEvent, uuid } from './event.ts';

export interface SessionOpened {
  sessionId: string;
  userId: string;
  /** ISO 8601, UTC */
  expiresAt: string;
}

/** A session was opened for a user. From: session. */
export const sessionOpened = defineEvent<SessionOpened>({
  type: 'session.opened',
  version: 1,
  data: {
    sessionId: uuid().required(),
    userId: uuid().required(),
    expiresAt: Joi.string().isoDate().required(),
  },
});
