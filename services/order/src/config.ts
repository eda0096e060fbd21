import { port, positiveDuration } from '@warren/chassis';
import { money, toMinorUnits } from '@warren/contracts';
import { productName } from './product.ts';

export interface OrderConfig {
  PORT: number;
  ADMIN_PORT: number;
  /** How long an order may wait for its payment, ms */
  PAYMENT_TIMEOUT: number;
  WELCOME_PRODUCT: string;
  /** Minor units of EUR; the environment has an amount such as 1.00 */
  WELCOME_PRICE: number;
}

export const config = {
  PORT: port(3003),
  ADMIN_PORT: port(9003),
  PAYMENT_TIMEOUT: positiveDuration('15m').description(
    'How long an order waits for its payment before it is cancelled, while broker and database are available.',
  ),
  WELCOME_PRODUCT: productName
    .default('Welcome kit')
    .description('The product of the order that every sign-up gets; at most 200 characters.'),
  WELCOME_PRICE: money()
    .strict(false)
    .custom((amount: number) => toMinorUnits(amount))
    .default(100)
    .meta({ default: '1.00' })
    .description('Its price in EUR; for sign-ups from now on.'),
};
