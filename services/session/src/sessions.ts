// Sessions: a sign-up opens one, and it expires after SESSION_TTL unless it is revoked.
import { type Authorising, type Kysely, newId, type WorkContext } from '@warren/chassis';
import { type Session, sessionOpened } from '@warren/contracts';
import type { SessionConfig } from './config.ts';

export type Status = Session['status'];

export interface SessionSchema {
  sessions: {
    id: string;
    /** A sign-up opens one session: unique. */
    user_id: string;
    /** As last written. A session past `expires_at` is expired whatever this says, see `statusAt`. */
    status: Status;
    opened_at: Date;
    expires_at: Date;
  };
}

/** The task that marks a session as expired; its key is the session's id. */
export const EXPIRE = 'session.expire';

/** Opens the session of a sign-up and emits `session.opened`; does nothing if the user has one already. */
export async function openSession(
  work: WorkContext<SessionSchema, SessionConfig>,
  userId: string,
): Promise<void> {
  const openedAt = work.now();
  const expiresAt = new Date(openedAt.getTime() + work.config.SESSION_TTL);
  const row = await work.transaction
    .insertInto('sessions')
    .values({ id: newId(), user_id: userId, status: 'active', opened_at: openedAt, expires_at: expiresAt })
    .onConflict((conflict) => conflict.column('user_id').doNothing())
    .returning('id')
    .executeTakeFirst();
  if (row === undefined) return;

  await work.emit(
    sessionOpened,
    { sessionId: row.id, userId, expiresAt: expiresAt.toISOString() },
    { aggregate: row.id },
  );
  await work.schedule(EXPIRE, { key: row.id, at: expiresAt });
}

/** `ended`: the session is revoked now, or ended before, and then keeps its status. */
export type Revoked = { outcome: 'ended' | 'session_unknown' };

/** Revokes an active session and removes its expiry task. */
export async function revokeSession(
  work: WorkContext<SessionSchema, SessionConfig> & Authorising,
  id: string,
): Promise<Revoked> {
  const row = await work.transaction
    .selectFrom('sessions')
    .selectAll()
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst();
  if (row === undefined) return { outcome: 'session_unknown' };
  work.authorise(row.user_id);
  if (statusAt(row, work.now()) === 'active') {
    await work.transaction.updateTable('sessions').set({ status: 'revoked' }).where('id', '=', id).execute();
    work.discard(EXPIRE, id);
  }
  return { outcome: 'ended' };
}

/** Marks a session as expired, unless it was revoked before. */
export async function expireSession(
  work: WorkContext<SessionSchema, SessionConfig>,
  id: string,
): Promise<void> {
  await work.transaction
    .updateTable('sessions')
    .set({ status: 'expired' })
    .where('id', '=', id)
    .where('status', '=', 'active')
    .execute();
}

export async function findSession(
  database: Kysely<SessionSchema>,
  id: string,
  now: Date,
): Promise<Session | undefined> {
  const row = await database.selectFrom('sessions').selectAll().where('id', '=', id).executeTakeFirst();
  return row && toSession(row, now);
}

export async function sessionsOf(
  database: Kysely<SessionSchema>,
  userId: string,
  now: Date,
): Promise<Session[]> {
  const rows = await database
    .selectFrom('sessions')
    .selectAll()
    .where('user_id', '=', userId)
    .orderBy('id')
    .execute();
  return rows.map((row) => toSession(row, now));
}

/** A session is expired from `expires_at` on, also before its worker has written that. */
const statusAt = (row: SessionSchema['sessions'], now: Date): Status =>
  row.status === 'active' && row.expires_at <= now ? 'expired' : row.status;

const toSession = (row: SessionSchema['sessions'], now: Date): Session => ({
  id: row.id,
  userId: row.user_id,
  status: statusAt(row, now),
  openedAt: row.opened_at.toISOString(),
  expiresAt: row.expires_at.toISOString(),
});
