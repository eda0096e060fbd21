import { type ReadContext, serve } from '@warren/chassis';
import { LISTED_AT_MOST, listPayments } from '@warren/contracts';
import { latestPayments, type PaymentSchema } from './payments.ts';

export const methods = [
  serve(listPayments, async ({ userId }, { database }: ReadContext<PaymentSchema>) => ({
    items: await latestPayments(database, userId, LISTED_AT_MOST),
  })),
];
