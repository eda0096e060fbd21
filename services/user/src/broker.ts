import { defineBroker } from '@warren/chassis';
import { findUser, userCreated } from '@warren/contracts';

export const broker = defineBroker('user', {
  vhosts: {
    publish: {
      publications: {
        'user.created.v1': userCreated,
      },
    },
    consume: {
      subscriptions: {
        'user.rpc': { methods: { 'user.find.v1': findUser }, prefetch: 1_100, redeliveries: { limit: 10 } },
      },
    },
  },
});
