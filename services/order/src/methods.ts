import { type Read, serve } from '@warren/chassis';
import { listOrders } from '@warren/contracts';
import { type OrderSchema, ordersOf } from './orders.ts';

export const methods = [
  serve(listOrders, async ({ userId }, { database }: Read<OrderSchema>) => ({
    items: await ordersOf(database, userId),
  })),
];
