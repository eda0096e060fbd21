import type { Methods } from '@warren/chassis';
import type { broker } from './broker.ts';
import { findUser, type UserSchema, unknownUser } from './users.ts';

export const methods: Methods<typeof broker, UserSchema> = {
  'user.find.v1': async ({ userId }, { database }) => {
    const found = await findUser(database, userId);
    if (found === undefined) throw unknownUser(userId);
    return found;
  },
};
