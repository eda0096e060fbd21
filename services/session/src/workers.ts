import type { Worker } from '@warren/chassis';
import type { SessionConfig } from './config.ts';
import { EXPIRE, expireSession, type SessionSchema } from './sessions.ts';

const expiry: Worker<object, void, SessionSchema, SessionConfig> = {
  kind: EXPIRE,
  complete: ({ key }, _nothing, work) => expireSession(work, key),
};

export const workers = [expiry];
