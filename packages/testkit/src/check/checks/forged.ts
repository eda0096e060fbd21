import { randomUUID } from 'node:crypto';
import type { Check } from '../check.ts';
import { NotChecked } from '../context.ts';
import { reportLetterFaults } from '../letters.ts';

/** The user of all services on a broker on this machine. */
const SHARED_USER = 'guest';

export const forged: Check = {
  name: 'forged',
  demands:
    'A valid event without `user-id`, or with that of another user, is dead-lettered as `forged` and has no effect. The user of the producer, the same with `.next` (while its password is rotated) and the user of the service itself (retries) are accepted.',
  why: 'Every service may write to the exchange `events` by some way, so only the `user-id`, which the broker validates, proves the producer.',
  async run(context) {
    const { user, event } = context.subject;
    if (user === SHARED_USER)
      throw new NotChecked(
        `the service connects as ${SHARED_USER}, as which every service may publish: give it a user of its own`,
      );
    const accepted = [
      context.draft(`an event under the user ${user} of the service itself`, {
        properties: { userId: user },
      }),
      context.draft(`an event under the user ${event.user}.next`, {
        properties: { userId: `${event.user}.next` },
      }),
    ];
    const refused = [
      context.draft('an event without user-id', { properties: { userId: undefined } }),
      context.draft('an event under another user', { properties: { userId: `other-${randomUUID()}` } }),
      context.draft('an event under a user whose name ends with that of the producer', {
        properties: { userId: `evil-${event.user}` },
      }),
    ];
    await context.publish(...refused, ...accepted);
    await context.haveOneEffect(accepted);
    const letters = await context.areDead(refused);
    for (const [draft, letter] of letters) reportLetterFaults(context, draft, letter, ['forged']);
  },
};
