import {
  type BrokerConfig,
  type BrokerSettings,
  consumes,
  publications,
  sharedExchanges,
} from '@warren/chassis';
import {
  emailSent,
  orderCancelled,
  orderConfirmed,
  orderCreated,
  paymentRefunded,
  userCreated,
} from '@warren/contracts';

/** Hears whatever a user is to be told, publishes `email.sent`. */
export const broker = (settings: BrokerSettings): BrokerConfig => ({
  vhosts: {
    publish: { exchanges: sharedExchanges(), publications: publications(emailSent) },
    consume: consumes(
      'email',
      [userCreated, orderCreated, orderConfirmed, orderCancelled, paymentRefunded],
      settings,
    ),
  },
});
