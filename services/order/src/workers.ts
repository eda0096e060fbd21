import type { Worker } from '@warren/chassis';
import type { OrderConfig } from './config.ts';
import { EXPIRE, expireOrder, type OrderSchema } from './orders.ts';

const expiry: Worker<object, void, OrderSchema, OrderConfig> = {
  kind: EXPIRE,
  complete: ({ key }, _nothing, work) => expireOrder(work, key),
};

export const workers = [expiry];
