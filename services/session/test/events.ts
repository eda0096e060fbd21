import { randomUUID } from 'node:crypto';
import { userCreated } from '@warren/contracts';
import { message } from '@warren/testkit';

/** A sign-up as the user service would publish it. */
export const signUpOf = (userId: string = randomUUID()) => ({
  userId,
  ...message(userCreated, { userId, name: 'Ada Lovelace', email: 'ada@example.com' }, { subject: userId }),
});
