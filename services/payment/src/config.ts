import { duration, Joi, port } from '@warren/chassis';
import { MAX_MINOR_UNITS, toMinorUnits } from '@warren/contracts';
import { PROVIDER_TIMEOUT } from './provider.ts';

export interface PaymentConfig {
  PORT: number;
  ADMIN_PORT: number;
  /** The most that one charge may be, in its own currency; minor units */
  PAYMENT_LIMIT: number;
  /** How long the provider takes to answer, ms */
  PROVIDER_LATENCY: number;
  /** Share of requests that the provider fails, having done nothing: 0 to 1 */
  PROVIDER_FAILURE_RATE: number;
  /** Share of requests that the provider leaves unanswered, done or not: 0 to 1 */
  PROVIDER_TIMEOUT_RATE: number;
}

const share = () => Joi.number().min(0).max(1).default(0);

/** Written as on the wire, e.g. `1000.00`; minor units in the config. */
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
      'The most that one charge may be, in its own currency; more is declined with `limit_exceeded`.',
    ),
  PROVIDER_LATENCY: duration('20ms')
    .custom((ms: number, helpers) => (ms < PROVIDER_TIMEOUT ? ms : helpers.error('any.invalid')))
    .messages({
      'any.invalid': `must be shorter than ${PROVIDER_TIMEOUT / 1_000}s, or nothing is ever charged`,
    })
    .description('How long the simulated provider takes to respond.'),
  PROVIDER_FAILURE_RATE: share().description(
    'Share of requests that the provider fails without doing anything.',
  ),
  PROVIDER_TIMEOUT_RATE: share().description(
    'Share of requests that the provider does not respond to, whether it has done them or not.',
  ),
};
