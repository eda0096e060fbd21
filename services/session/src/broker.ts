import {
  type BrokerConfig,
  type BrokerSettings,
  combine,
  consumes,
  publications,
  serves,
  sharedExchanges,
} from '@warren/chassis';
import { listSessions, sessionOpened, userCreated } from '@warren/contracts';

/** Hears `user.created`, publishes `session.opened`, answers `session.list`. */
export const broker = (settings: BrokerSettings): BrokerConfig => ({
  vhosts: {
    publish: { exchanges: sharedExchanges(), publications: publications(sessionOpened) },
    consume: combine(consumes('session', [userCreated], settings), serves('session', [listSessions])),
  },
});
