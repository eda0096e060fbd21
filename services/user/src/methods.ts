import { type ReadContext, serve } from '@warren/chassis';
import { findUser as find } from '@warren/contracts';
import { findUser, type UserSchema, unknownUser } from './users.ts';

export const methods = [
  serve(find, async ({ userId }, { database }: ReadContext<UserSchema>) => {
    const found = await findUser(database, userId);
    if (found === undefined) throw unknownUser(userId);
    return found;
  }),
];
