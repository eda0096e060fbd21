import { type ReadContext, serve } from '@warren/chassis';
import { listSessions } from '@warren/contracts';
import { type SessionSchema, sessionsOf } from './sessions.ts';

export const methods = [
  serve(listSessions, async ({ userId }, { database, now }: ReadContext<SessionSchema>) => ({
    items: await sessionsOf(database, userId, now()),
  })),
];
