// What a user is: who may sign up, under which address, and how they are listed.
import { domainToASCII, domainToUnicode } from 'node:url';
import {
  type Kysely,
  newId,
  type Page,
  type Paging,
  problem,
  requireCursor,
  toPage,
  type WorkContext,
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
  work: WorkContext<UserSchema, UserConfig>,
  { name, email }: NewUser,
): Promise<User | undefined> {
  const key = emailKey(email);
  const former = formerKey(email);
  if (former !== key && (await isTaken(work, former))) return undefined;
  const row = await work.transaction
    .insertInto('users')
    .values({ id: newId(), name, email, email_key: key, created_at: work.now() })
    .onConflict((conflict) => conflict.column('email_key').doNothing())
    .returningAll()
    .executeTakeFirst();
  if (row === undefined) return undefined;

  await work.emit(userCreated, { userId: row.id, name, email }, { aggregate: row.id });
  return toUser(row);
}

const isTaken = async (work: WorkContext<UserSchema, UserConfig>, key: string): Promise<boolean> =>
  (await work.transaction
    .selectFrom('users')
    .select('id')
    .where('email_key', '=', key)
    .executeTakeFirst()) !== undefined;

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

/** The ASCII form of a domain (UTS #46, nontransitional: `faß.de` is not `fass.de`). @throws when it is not a domain */
function asciiDomain(domain: string): string {
  // It parses hosts of URLs, so it would also read percent-encoding and numbers as an IPv4 address.
  const ascii = /[%/?#\\:]/.test(domain) ? '' : domainToASCII(domain);
  const labels = ascii.split('.');
  if (
    ascii.length > 253 ||
    !labels.every((label) => /^[a-z\d_-]{1,63}$/.test(label)) ||
    /^\d+$/.test(labels.at(-1) ?? '')
  )
    throw new RangeError(`'${domain}' is not a domain`);
  return ascii;
}

const parts = (email: string): [local: string, domain: string] => {
  const at = email.lastIndexOf('@');
  return [email.slice(0, at), email.slice(at + 1)];
};

/** As addresses were compared before. An account from then has this key until it is recomputed, or for good when it collides. */
const formerKey = (email: string): string => email.normalize('NFC').toLowerCase();

/**
 * Two addresses that differ in case alone are one. RFC 5321 lets a host tell `Ada@` from `ada@`; hardly one does, and
 * a second account by a slip of the shift key is the likelier mistake. Two spellings of one domain are one domain.
 */
export const emailKey = (email: string): string => {
  const [local, domain] = parts(email);
  return `${local.normalize('NFC').toLowerCase()}@${asciiDomain(domain)}`;
};

/**
 * An address as it is stored: its domain in lower case; one with other letters than ASCII in the form that UTS #46 maps it
 * to. The local part is its owner's affair. @throws when the domain is not one
 */
export function canonicalEmail(email: string): string {
  const [local, domain] = parts(email);
  const ascii = asciiDomain(domain);
  return `${local}@${/^[\0-\x7f]*$/.test(domain) ? domain.toLowerCase() : domainToUnicode(ascii)}`;
}

const toUser = (row: UserSchema['users']): User => ({
  id: row.id,
  name: row.name,
  email: row.email,
  createdAt: row.created_at.toISOString(),
});
