import { type BrokerConfig, publications, serves, sharedExchanges } from '@warren/chassis';
import { findUser, userCreated } from '@warren/contracts';

/** Publishes `user.created`, answers `user.find`. */
export const broker = (): BrokerConfig => ({
  vhosts: {
    publish: { exchanges: sharedExchanges(), publications: publications(userCreated) },
    consume: serves('user', [findUser]),
  },
});
