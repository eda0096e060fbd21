import type { Acting, Worker } from '@warren/chassis';
import type { PaymentConfig } from './config.ts';
import { CHARGE, type PaymentSchema, REFUND, settleCharge, settleRefund } from './payments.ts';
import type { Charge, Outcome, PaymentProvider, Refund } from './provider.ts';
import { simulator } from './simulator.ts';

/** A real provider takes the simulator's place here. */
const providerOf = ({ database, config }: Acting<PaymentSchema, PaymentConfig>): PaymentProvider =>
  simulator(database, config);

/** ms that a provider may take: short, for a payment whose worker died is out of reach until its lease, which is longer, ends. */
const TIMEOUT = 10_000;

const charging: Worker<Charge, Outcome, PaymentSchema, PaymentConfig> = {
  kind: CHARGE,
  act: ({ data }, context) => providerOf(context).charge(data, context.signal),
  settle: ({ key }, outcome, work) => settleCharge(work, key, outcome),
  timeout: TIMEOUT,
  // Most of a charge is waiting for the provider.
  concurrency: 8,
};

const refunding: Worker<Refund, void, PaymentSchema, PaymentConfig> = {
  kind: REFUND,
  act: ({ data }, context) => providerOf(context).refund(data, context.signal),
  settle: ({ key }, _nothing, work) => settleRefund(work, key),
  timeout: TIMEOUT,
  concurrency: 4,
};

export const workers = [charging, refunding];
