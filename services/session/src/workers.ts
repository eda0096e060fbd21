import { EXPIRE, expireSession } from './sessions.ts';

export const workers = [{ kind: EXPIRE, settle: ({ key }, _result, work) => expireSession(work, key) }];
