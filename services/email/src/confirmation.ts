// Confirms an address once, by its link, and sends a user another link until then.
import { type EmailWork, lockUser, release, writeConfirmation } from './emails.ts';

/** Confirmations to one user, including the first. */
const MAX_PER_HOUR = 3;
const MAX_PER_DAY = 5;
const HOUR_MS = 3_600_000;

/** Confirms the address of a user, and releases the e-mails that waited for it. Idempotent. */
export async function confirm(work: EmailWork, userId: string): Promise<void> {
  await lockUser(work, userId);
  await work.transaction
    .updateTable('users')
    .set({ confirmed_at: work.now() })
    .where('id', '=', userId)
    .where('confirmed_at', 'is', null)
    .execute();
  await release(work, userId);
}

/**
 * Sends a user another confirmation. Does nothing if the user does not exist, the address is confirmed, a confirmation is still
 * pending, or the limits are reached. The caller cannot tell which.
 */
export async function resend(work: EmailWork, userId: string): Promise<void> {
  await lockUser(work, userId);
  const user = await work.transaction
    .selectFrom('users')
    .select('id')
    .where('id', '=', userId)
    .where('confirmed_at', 'is', null)
    .executeTakeFirst();
  if (user === undefined) return;
  const now = work.now().getTime();
  const earlier = await work.transaction
    .selectFrom('emails')
    .select(['created_at', 'status'])
    .where('user_id', '=', userId)
    .where('template', '=', 'confirmation')
    .where((expression) =>
      expression.or([
        expression('status', '=', 'pending'),
        expression('created_at', '>', new Date(now - 24 * HOUR_MS)),
      ]),
    )
    .execute();
  const lately = earlier.filter(({ created_at }) => created_at.getTime() > now - HOUR_MS);
  if (earlier.some(({ status }) => status === 'pending')) return;
  if (earlier.length >= MAX_PER_DAY || lately.length >= MAX_PER_HOUR) return;
  await writeConfirmation(work, userId);
}
