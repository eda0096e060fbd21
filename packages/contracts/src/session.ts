import { defineEvent, defineMethod, Joi, uuid } from '@warren/events';

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
  mayGoUnconsumed: true,
  data: {
    sessionId: uuid().required(),
    userId: uuid().required(),
    expiresAt: Joi.string().isoDate().required(),
  },
});

export interface Session {
  id: string;
  userId: string;
  status: 'active' | 'revoked' | 'expired';
  /** ISO 8601, UTC */
  openedAt: string;
  /** ISO 8601, UTC */
  expiresAt: string;
}

/** The sessions of a user, oldest first. Handled by: session. */
export const listSessions = defineMethod<{ userId: string }, { items: Session[] }>({
  method: 'session.list',
  version: 1,
  callers: ['gateway'],
  access: { owner: 'userId' },
  request: { userId: uuid().required() },
  reply: {
    items: Joi.array()
      .items(
        Joi.object({
          id: uuid().required(),
          userId: uuid().required(),
          status: Joi.valid('active', 'revoked', 'expired').required(),
          openedAt: Joi.string().isoDate().required(),
          expiresAt: Joi.string().isoDate().required(),
        }),
      )
      .required(),
  },
});
