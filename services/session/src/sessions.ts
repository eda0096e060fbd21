// What a session is: opened by a sign-up, it lives for SESSION_TTL unless it is revoked.
import { type Authorising, type Kysely, newId, type WorkContext } from '@warren/chassis';
import { type Session, sessionOpened } from '@warren/contracts';
import type { SessionConfig } from './config.ts';

export type Status = Session['status'];

export interface SessionSchema {
  sessions: {
    id: string;
    /** A sign-up opens one session: unique. */
    user_id: string;
    /** As last written; a session past its time is expired whatever stands here, see `toSession`. */
    status: Status;
    opened_at: Date;
    expires_at: Date;
  };
}

/** The task that marks a session expired when its time has come. */
export const EXPIRE = 'session.expire';

/** Opens the session of a sign-up and says so in `session.opened`; does nothing when it is open already. */
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

/** Ends a session, of whom it belongs to; `false` when there is none. One that has ended already stays as it ended. */
export async function revokeSession(
  work: WorkContext<SessionSchema, SessionConfig> & Authorising,
  id: string,
): Promise<boolean> {
  const row = await work.transaction
    .selectFrom('sessions')
    .selectAll()
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst();
  if (row === undefined) return false;
  work.authorise(row.user_id);
  if (statusAt(row, work.now()) === 'active')
    await work.transaction.updateTable('sessions').set({ status: 'revoked' }).where('id', '=', id).execute();
  return true;
}

/** Marks a session whose time has come; one that was revoked before stays revoked. */
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

/** Expired from the moment it is, not from when the worker has written it down. */
const statusAt = (row: SessionSchema['sessions'], now: Date): Status =>
  row.status === 'active' && row.expires_at <= now ? 'expired' : row.status;

const toSession = (row: SessionSchema['sessions'], now: Date): Session => ({
  id: row.id,
  userId: row.user_id,
  status: statusAt(row, now),
  openedAt: row.opened_at.toISOString(),
  expiresAt: row.expires_at.toISOString(),
});
