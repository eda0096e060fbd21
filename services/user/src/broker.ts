import { type BrokerConfig, publications, sharedExchanges } from '@warren/chassis';
import { userCreated } from '@warren/contracts';

/** Publishes `user.created`; consumes nothing. */
export const broker = (): BrokerConfig => ({
  vhosts: {
    publish: { exchanges: sharedExchanges(), publications: publications(userCreated) },
    consume: {},
  },
});
