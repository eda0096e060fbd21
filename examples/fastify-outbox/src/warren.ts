// All that this application has of Warren: an outbox, the relay that empties it, and a consumer.
import { drizzleAdapter } from '@warren/chassis/adapters/drizzle';
import { createConsumer } from '@warren/chassis/inbox';
import { createMessaging } from '@warren/chassis/messaging';
import { createOutbox, createRelay, type Log } from '@warren/chassis/outbox';
import { userCreated } from '@warren/contracts';
import { sql } from 'drizzle-orm';
import { type Database, things } from './database.ts';
import { thingSaved } from './events.ts';

const service = 'thing';
const publications = [thingSaved];

export function joinWarren(db: Database, urls: { databaseUrl: string; brokerUrl: string }, log: Log) {
  const { brokerUrl } = urls;
  const adapter = drizzleAdapter(db, sql);
  const relay = createRelay({ service, ...urls, log });
  const outbox = createOutbox({ service, publications, adapter, relay });
  const messaging = createMessaging({ service, brokerUrl, hooks: { log } });
  const consumer = createConsumer({
    messaging,
    adapter,
    publications,
    relay,
    event: userCreated,
    // Every new user gets a thing: one, also if the event is delivered twice.
    handler: async ({ id, data }, work) => {
      const thing = { id, name: `first thing of ${data.name}` };
      await work.transaction.insert(things).values(thing);
      await work.emit(thingSaved, { thingId: id, name: thing.name }, { aggregate: id });
    },
  });
  return {
    outbox,
    start() {
      relay.start();
      consumer.start();
    },
    /** Handlers finish, then the relay publishes what they left. */
    async stop() {
      await messaging.stop({ timeout: 5_000 });
      await relay.stop({ timeout: 5_000 });
    },
    get problem() {
      return messaging.problem ?? relay.problem;
    },
  };
}
