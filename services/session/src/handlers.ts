import { on } from '@warren/chassis';
import { userCreated } from '@warren/contracts';
import { openSession } from './sessions.ts';

export const handlers = [on(userCreated, ({ data }, work) => openSession(work, data.userId))];
