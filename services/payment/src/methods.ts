import { type Read, serve } from '@warren/chassis';
import { listPayments } from '@warren/contracts';
import { type PaymentSchema, paymentsOf } from './payments.ts';

export const methods = [
  serve(listPayments, async ({ userId }, { database }: Read<PaymentSchema>) => ({
    items: await paymentsOf(database, { userId }),
  })),
];
