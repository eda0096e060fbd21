import type { Methods } from '@warren/chassis';
import type { broker } from './broker.ts';
import { type SessionSchema, sessionsOf } from './sessions.ts';

export const methods: Methods<typeof broker, SessionSchema> = {
  'session.list.v1': async ({ userId }, { database, now }) => ({
    items: await sessionsOf(database, userId, now()),
  }),
};
