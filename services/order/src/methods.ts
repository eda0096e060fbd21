import type { Methods } from '@warren/chassis';
import { LISTED_AT_MOST } from '@warren/contracts';
import type { broker } from './broker.ts';
import { latestOrders, type OrderSchema } from './orders.ts';

export const methods: Methods<typeof broker, OrderSchema> = {
  'order.list.v1': async ({ userId }, { database }) => ({
    items: await latestOrders(database, userId, LISTED_AT_MOST),
  }),
};
