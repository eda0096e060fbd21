import { duration, Joi, port } from '@warren/chassis';
import { MAX_MINOR_UNITS, toMinorUnits } from '@warren/contracts';
import { PROVIDER_TIMEOUT } from './provider.ts';

export interface PaymentConfig {
  PORT: number;
  ADMIN_PORT: number;
  /** Maximum amount of one charge, in its currency; minor units */
  PAYMENT_LIMIT: number;
  /** Response time of the provider, ms */
  PROVIDER_LATENCY: number;
  /** Share of requests that fail without an effect, 0 to 1 */
  PROVIDER_FAILURE_RATE: number;
  /** Share of requests without a response, with or without an effect, 0 to 1 */
  PROVIDER_TIMEOUT_RATE: number;
}

const share = () => Joi.number().min(0).max(1).default(0);

/** An amount such as `1000.00` in the environment; minor units in the config. */
const amount = () =>
  Joi.number()
    .min(0)
    .max(MAX_MINOR_UNITS / 100)
    .multiple(0.01)
    .messages({ 'number.multiple': 'must have at most two decimals' })
    .custom(toMinorUnits);

export const config = {
  PORT: port(3004),
  ADMIN_PORT: port(9004),
  PAYMENT_LIMIT: amount()
    .default(toMinorUnits(1000))
    .meta({ default: '1000.00' })
    .description(
      'Maximum amount of one charge, in its currency; a higher one is declined with `limit_exceeded`.',
    ),
  PROVIDER_LATENCY: duration('20ms')
    .custom((ms: number, helpers) => (ms < PROVIDER_TIMEOUT ? ms : helpers.error('any.invalid')))
    .messages({
      'any.invalid': `must be shorter than ${PROVIDER_TIMEOUT / 1_000}s; otherwise every charge times out`,
    })
    .description('Response time of the simulated provider.'),
  PROVIDER_FAILURE_RATE: share().description('Share of requests that fail without an effect.'),
  PROVIDER_TIMEOUT_RATE: share().description(
    'Share of requests without a response, with or without an effect.',
  ),
};
