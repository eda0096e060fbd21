import type { Handlers } from '@warren/chassis';
import type { broker } from './broker.ts';
import type { SessionConfig } from './config.ts';
import { openSession, type SessionSchema } from './sessions.ts';

export const handlers: Handlers<typeof broker, SessionSchema, SessionConfig> = {
  'session.user.created': ({ data }, work) => openSession(work, data.userId),
};
