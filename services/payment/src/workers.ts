import type { TaskContext, Worker } from '@warren/chassis';
import type { PaymentConfig } from './config.ts';
import { CHARGE, type PaymentSchema, REFUND, settleCharge, settleRefund } from './payments.ts';
import {
  type Charge,
  type Outcome,
  type PaymentProvider,
  PROVIDER_TIMEOUT,
  type Refund,
} from './provider.ts';
import { simulator } from './simulator.ts';

/** Replace the simulator with a real provider here. */
function providerOf({ database, config }: TaskContext<PaymentSchema, PaymentConfig>): PaymentProvider {
  const known = providers.get(config);
  if (known?.database === database) return known.provider;
  const provider = simulator(database, config);
  providers.set(config, { database, provider });
  return provider;
}

const providers = new WeakMap<PaymentConfig, { database: object; provider: PaymentProvider }>();

/** High, because a charge or a refund mostly waits for the provider and holds no connection meanwhile. */
export const CONCURRENCY = 32;

const charging: Worker<Charge, Outcome, PaymentSchema, PaymentConfig> = {
  kind: CHARGE,
  perform: ({ data }, context) => providerOf(context).charge(data, context.signal),
  complete: ({ key }, outcome, work) => settleCharge(work, key, outcome),
  timeout: PROVIDER_TIMEOUT,
  concurrency: CONCURRENCY,
};

const refunding: Worker<Refund, void, PaymentSchema, PaymentConfig> = {
  kind: REFUND,
  perform: ({ data }, context) => providerOf(context).refund(data, context.signal),
  complete: ({ key }, _nothing, work) => settleRefund(work, key),
  timeout: PROVIDER_TIMEOUT,
  concurrency: CONCURRENCY,
};

export const workers = [charging, refunding];
