// Recomputes the keys of accounts created before UTS #46, page by page, while sign-ups and older replicas run.
import { newId, sql, type WorkContext } from '@warren/chassis';
import type { UserConfig } from './config.ts';
import { emailKey, type UserSchema } from './users.ts';

type UserWork = WorkContext<UserSchema, UserConfig>;

interface StaleKey {
  id: string;
  /** What the key should be. */
  key: string;
}

/** The task that the migration inserts. */
export const RECOMPUTE = 'user.email-keys';

/** Accounts per transaction. */
const PAGE_SIZE = 500;

/**
 * Recomputes the keys of one page of accounts.
 *
 * @param after the last account of the previous page
 * @returns the last account of this page; `undefined` at the end
 */
export async function recomputeKeys(work: UserWork, after?: string): Promise<string | undefined> {
  const page = await work.transaction
    .selectFrom('users')
    .select(['id', 'email', 'email_key'])
    .$if(after !== undefined, (query) => query.where('id', '>', after as string))
    .orderBy('id')
    .limit(PAGE_SIZE)
    .execute();
  const stale = page
    .map((user) => ({ id: user.id, key: currentKey(user), stored: user.email_key }))
    .filter(({ key, stored }) => key !== stored);
  if (stale.length > 0) await replaceKeys(work, stale);
  return page.length < PAGE_SIZE ? undefined : page.at(-1)?.id;
}

/** An address with an invalid domain keeps its key: nobody can sign up with it again. */
function currentKey({ email, email_key }: { email: string; email_key: string }): string {
  try {
    return emailKey(email);
  } catch {
    return email_key;
  }
}

async function replaceKeys(work: UserWork, stale: StaleKey[]): Promise<void> {
  const free = await reserve(work, stale);
  // The first of two accounts with the same new key gets it.
  const fresh = stale.filter(({ key }) => free.delete(key));
  await sql`
    update users set email_key = fresh.key
    from unnest(${fresh.map(({ id }) => id)}::uuid[], ${fresh.map(({ key }) => key)}::text[]) as fresh (id, key)
    where users.id = fresh.id`.execute(work.transaction);
  const taken = stale.filter((each) => !fresh.includes(each));
  if (taken.length > 0) await reportCollisions(work, taken);
}

/**
 * Reserves keys until this transaction ends. An `update` would fail if a concurrent sign-up committed the same key; this `insert`
 * waits for that sign-up and skips the key. Its rows are never visible, because they are deleted at once.
 *
 * @returns the keys that no account has
 */
async function reserve({ transaction, now }: UserWork, stale: StaleKey[]): Promise<Set<string>> {
  const reserved = await transaction
    .insertInto('users')
    .values(stale.map(({ key }) => ({ id: newId(), name: '', email: '', email_key: key, created_at: now() })))
    .onConflict((conflict) => conflict.column('email_key').doNothing())
    .returning(['id', 'email_key'])
    .execute();
  if (reserved.length > 0)
    await transaction
      .deleteFrom('users')
      .where(
        'id',
        'in',
        reserved.map(({ id }) => id),
      )
      .execute();
  return new Set(reserved.map(({ email_key }) => email_key));
}

async function reportCollisions({ transaction, log }: UserWork, taken: StaleKey[]): Promise<void> {
  const holders = await transaction
    .selectFrom('users')
    .select(['id', 'email_key'])
    .where(
      'email_key',
      'in',
      taken.map(({ key }) => key),
    )
    .execute();
  const holderOf = new Map(holders.map(({ id, email_key }) => [email_key, id]));
  for (const { id, key } of taken)
    log.warn(
      { code: 'email_key_taken', users: [holderOf.get(key), id] },
      'two accounts have the same e-mail address; both are kept',
    );
}
