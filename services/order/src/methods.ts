import { type ReadContext, serve } from '@warren/chassis';
import { LISTED_AT_MOST, listOrders } from '@warren/contracts';
import { latestOrders, type OrderSchema } from './orders.ts';

export const methods = [
  serve(listOrders, async ({ userId }, { database }: ReadContext<OrderSchema>) => ({
    items: await latestOrders(database, userId, LISTED_AT_MOST),
  })),
];
