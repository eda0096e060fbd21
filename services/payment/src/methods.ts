import type { Methods } from '@warren/chassis';
import { LISTED_AT_MOST } from '@warren/contracts';
import type { broker } from './broker.ts';
import { latestPayments, type PaymentSchema } from './payments.ts';

export const methods: Methods<typeof broker, PaymentSchema> = {
  'payment.list.v1': async ({ userId }, { database }) => ({
    items: await latestPayments(database, userId, LISTED_AT_MOST),
  }),
};
