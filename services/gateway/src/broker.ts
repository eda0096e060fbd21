import { defineBroker } from '@warren/chassis';

/** Calls the services, and publishes no event. */
export const broker = defineBroker('gateway', {
  vhosts: {
    publish: {},
    consume: {
      subscriptions: {
        'gateway.reply': { exclusive: true, prefetch: 200 },
      },
    },
  },
});
