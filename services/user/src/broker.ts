import { type BrokerConfig, publication, sharedExchanges } from '@warren/chassis';
import { userCreated } from '@warren/contracts';

/** Publishes `user.created`; consumes nothing. */
export const broker = (): BrokerConfig => ({
  vhosts: {
    publish: {
      exchanges: sharedExchanges(),
      publications: { ...publication(userCreated) },
    },
  },
});
