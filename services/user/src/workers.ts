import type { Worker } from '@warren/chassis';
import type { UserConfig } from './config.ts';
import { RECOMPUTE, recomputeKeys } from './email-keys.ts';
import type { UserSchema } from './users.ts';

const recomputing: Worker<{ after?: string }, void, UserSchema, UserConfig> = {
  kind: RECOMPUTE,
  concurrency: 1,
  async complete({ key, data }, _nothing, work) {
    const after = await recomputeKeys(work, data.after);
    if (after === undefined) work.log.info('recomputed the keys of all e-mail addresses');
    else await work.schedule(RECOMPUTE, { key, data: { after } });
  },
};

export const workers = [recomputing];
