import { del, get, Joi, noContent, own, problem, type Route } from '@warren/chassis';
import type { Session } from '@warren/contracts';
import { uuid } from '@warren/events';
import type { SessionConfig } from './config.ts';
import { findSession, revokeSession, type SessionSchema, sessionsOf } from './sessions.ts';

const id = uuid().lowercase();

const session = Joi.object<Session>({
  id: id.required(),
  userId: id.required(),
  status: Joi.valid('active', 'revoked', 'expired').required(),
  openedAt: Joi.string().isoDate().required(),
  expiresAt: Joi.string().isoDate().required(),
});

const unknown = (sessionId: string) =>
  problem(404, {
    code: 'session_unknown',
    title: 'Session not found',
    detail: `Session ${sessionId} does not exist.`,
  });

export const routes: Route<SessionSchema, SessionConfig>[] = [
  get(
    '/sessions',
    {
      access: own(({ query }) => query.userId),
      summary: 'List the sessions of a user, oldest first',
      query: { userId: id.required() },
      responses: { 200: Joi.object({ items: Joi.array().items(session).required() }) },
    },
    async ({ query }, { database, now }) => ({ items: await sessionsOf(database, query.userId, now()) }),
  ),

  get(
    '/sessions/:id',
    {
      access: 'own',
      summary: 'Get a session',
      params: { id: id.required() },
      responses: { 200: session, 404: Joi.valid('session_unknown') },
    },
    async ({ params }, { database, now, authorise }) => {
      const found = await findSession(database, params.id, now());
      if (found === undefined) throw unknown(params.id);
      authorise(found.userId);
      return found;
    },
  ),

  del(
    '/sessions/:id',
    {
      access: 'own',
      summary: 'Revoke a session',
      params: { id: id.required() },
      responses: { 204: null, 404: Joi.valid('session_unknown') },
    },
    async ({ params }, work) => {
      const { outcome } = await revokeSession(work, params.id);
      if (outcome === 'session_unknown') throw unknown(params.id);
      return noContent();
    },
  ),
];
