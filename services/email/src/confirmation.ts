// An address is confirmed once, by its link; until then its user may have the link sent again.
import { type EmailWork, lockUser, release, writeConfirmation } from './emails.ts';

/** Confirmations to one user, the first one included. */
const PER_HOUR = 3;
const PER_DAY = 5;
const HOUR_MS = 3_600_000;

/** From now on everything is sent to this user, also what has waited. Again is as good as once. */
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
 * Sends a user another confirmation: unless there is no such user, the address is confirmed, the last confirmation has not left
 * yet, or there were enough of them. Whoever asks is not told.
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
  if (earlier.length >= PER_DAY || lately.length >= PER_HOUR) return;
  await writeConfirmation(work, userId);
}
