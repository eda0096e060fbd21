// What a user is: who may sign up, under which address, and how they are listed.
import {
  type Kysely,
  newId,
  type Page,
  type Paging,
  problem,
  requireCursor,
  toPage,
  type Work,
} from '@warren/chassis';
import { type User, userCreated } from '@warren/contracts';
import type { UserConfig } from './config.ts';

export interface UserSchema {
  users: {
    id: string;
    name: string;
    /** As the user wrote it, the domain in lower case: what mail is sent to. */
    email: string;
    /** What makes an address unique, see `emailKey`. */
    email_key: string;
    created_at: Date;
  };
}

export interface NewUser {
  name: string;
  email: string;
}

/** Signs a user up and says so in `user.created`; `undefined` when another user has the e-mail address. */
export async function signUp(
  work: Work<UserSchema, UserConfig>,
  { name, email }: NewUser,
): Promise<User | undefined> {
  const row = await work.transaction
    .insertInto('users')
    .values({ id: newId(), name, email, email_key: emailKey(email), created_at: work.now() })
    .onConflict((conflict) => conflict.column('email_key').doNothing())
    .returningAll()
    .executeTakeFirst();
  if (row === undefined) return undefined;

  await work.emit(userCreated, { userId: row.id, name, email }, { aggregate: row.id });
  return toUser(row);
}

export async function findUser(database: Kysely<UserSchema>, id: string): Promise<User | undefined> {
  const row = await database.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirst();
  return row && toUser(row);
}

export const unknownUser = (id: string) =>
  problem(404, { code: 'user_unknown', title: 'User unknown', detail: `There is no user ${id}.` });

/** In the order of their ids, which is the order they signed up in. */
export async function listUsers(database: Kysely<UserSchema>, { limit, after }: Paging): Promise<Page<User>> {
  await requireCursor(after, (id) => findUser(database, id));
  const rows = await database
    .selectFrom('users')
    .selectAll()
    .$if(after !== undefined, (query) => query.where('id', '>', after as string))
    .orderBy('id')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, toUser);
}

/**
 * Two addresses that differ in case alone are one. RFC 5321 lets a host tell `Ada@` from `ada@`; hardly one does, and
 * a second account by a slip of the shift key is the likelier mistake. Mail still goes to the address as it was written.
 */
const emailKey = (email: string): string => email.normalize('NFC').toLowerCase();

/** The domain of an address is the same in any case; its local part is its owner's affair. */
export const withLowerCaseDomain = (email: string): string =>
  email.replace(/@[^@]*$/, (domain) => domain.toLowerCase());

const toUser = (row: UserSchema['users']): User => ({
  id: row.id,
  name: row.name,
  email: row.email,
  createdAt: row.created_at.toISOString(),
});
