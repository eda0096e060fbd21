// Users: sign-up, unique e-mail addresses, reading and listing.
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
    /** As the user wrote it, with the domain in lower case. E-mails are sent to it. */
    email: string;
    /** Unique, see `emailKey`. */
    email_key: string;
    created_at: Date;
  };
}

export interface NewUser {
  name: string;
  email: string;
}

/** `email_taken`: another user has the e-mail address. */
export type SignedUp = { outcome: 'signed_up'; user: User } | { outcome: 'email_taken' };

/** Signs up a user and emits `user.created`. */
export async function signUp(
  work: WorkContext<UserSchema, UserConfig>,
  { name, email }: NewUser,
): Promise<SignedUp> {
  const key = emailKey(email);
  const former = formerKey(email);
  if (former !== key && (await isTaken(work, former))) return { outcome: 'email_taken' };
  const row = await work.transaction
    .insertInto('users')
    .values({ id: newId(), name, email, email_key: key, created_at: work.now() })
    .onConflict((conflict) => conflict.column('email_key').doNothing())
    .returningAll()
    .executeTakeFirst();
  if (row === undefined) return { outcome: 'email_taken' };

  await work.emit(userCreated, { userId: row.id, name, email }, { aggregate: row.id });
  return { outcome: 'signed_up', user: toUser(row) };
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
  problem(404, { code: 'user_unknown', title: 'User not found', detail: `User ${id} does not exist.` });

/** Ordered by id, which is the order of sign-up. */
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

/** The ASCII form of a domain (UTS #46, nontransitional: `faß.de` is not `fass.de`). @throws {RangeError} when it is not a domain */
function asciiDomain(domain: string): string {
  // domainToASCII parses URL hosts, so it also accepts percent-encoding, and numbers as an IPv4 address.
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

/** The key of earlier versions. An account created by one has it until its key is recomputed, and keeps it on a collision. */
const formerKey = (email: string): string => email.normalize('NFC').toLowerCase();

/**
 * Addresses that differ only in case have one key. RFC 5321 allows a host to distinguish `Ada@` from `ada@`, but few do, and
 * a second account by mistake is more likely. All spellings of one domain have one key.
 */
export const emailKey = (email: string): string => {
  const [local, domain] = parts(email);
  return `${local.normalize('NFC').toLowerCase()}@${asciiDomain(domain)}`;
};

/**
 * An address as it is stored: an ASCII domain in lower case, another in the form that UTS #46 maps it to. The local part is
 * unchanged. @throws {RangeError} when the domain is not one
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
