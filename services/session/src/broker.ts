import { defineBroker, RETRY_DELAYS } from '@warren/chassis';
import { listSessions, sessionOpened, userCreated } from '@warren/contracts';

/** The settings of every queue of events. RETRY_DELAYS is the retry ladder of the environment: 1s,10s,1m by default. */
const standard = { prefetch: 200, redeliveries: { limit: 10 }, retry: RETRY_DELAYS };

export const broker = defineBroker('session', {
  vhosts: {
    publish: {
      publications: {
        'session.opened.v1': sessionOpened,
      },
    },
    consume: {
      subscriptions: {
        'session.user.created': { event: userCreated, ...standard, deadLetters: 'session.user.created.dlq' },
        'session.rpc': {
          methods: { 'session.list.v1': listSessions },
          prefetch: 1_100,
          redeliveries: { limit: 10 },
        },
      },
    },
  },
});
