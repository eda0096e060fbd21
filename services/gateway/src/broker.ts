import { type BrokerConfig, type BrokerSettings, receivesReplies, sharedExchanges } from '@warren/chassis';

/** Asks the services, and publishes no event. */
export const broker = (settings: BrokerSettings): BrokerConfig => ({
  vhosts: {
    publish: { exchanges: sharedExchanges() },
    consume: receivesReplies('gateway', settings),
  },
});
