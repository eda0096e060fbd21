import {
  type BrokerConfig,
  type BrokerSettings,
  consumes,
  publications,
  sharedExchanges,
} from '@warren/chassis';
import { sessionOpened, userCreated } from '@warren/contracts';

/** Hears `user.created`, publishes `session.opened`. */
export const broker = (settings: BrokerSettings): BrokerConfig => ({
  vhosts: {
    publish: { exchanges: sharedExchanges(), publications: publications(sessionOpened) },
    consume: consumes('session', [userCreated], settings),
  },
});
