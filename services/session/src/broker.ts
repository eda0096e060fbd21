import {
  type BrokerConfig,
  type BrokerSettings,
  delays,
  publication,
  sharedExchanges,
  workQueue,
} from '@warren/chassis';
import { sessionOpened, userCreated } from '@warren/contracts';

/** Hears `user.created`, publishes `session.opened`. */
export const broker = ({ retryDelays }: BrokerSettings): BrokerConfig => ({
  vhosts: {
    publish: {
      exchanges: sharedExchanges(),
      publications: { ...publication(sessionOpened) },
    },
    consume: { ...workQueue('session', userCreated), ...delays('session', retryDelays) },
  },
});
