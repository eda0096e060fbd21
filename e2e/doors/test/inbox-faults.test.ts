// What a consumer does with forged messages, without its broker, and with options that contradict each other.
import { pgAdapter } from '@warren/chassis/adapters/pg';
import { createConsumer, WarrenError } from '@warren/chassis/inbox';
import { createMessaging, defineBroker, type Messaging, RETRY_DELAYS } from '@warren/chassis/messaging';
import { migrate } from '@warren/chassis/migrations';
import { deliver } from '@warren/chassis/testing';
import { eventually, message, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import pg from 'pg';
import { THINGS, thingCounted, thingSaved } from './fixtures/things.ts';

const QUEUE = 'shelf.thing.saved';

const shelfBroker = defineBroker('shelf', {
  vhosts: {
    publish: {},
    consume: {
      subscriptions: {
        'shelf.thing.saved': {
          event: thingSaved,
          prefetch: 10,
          redeliveries: { limit: 3 },
          retry: RETRY_DELAYS,
          deadLetters: 'shelf.thing.saved.dlq',
        },
      },
    },
  },
});

describe('a consumer of an application', function () {
  this.timeout(90_000);
  let pool: pg.Pool;
  const open: Messaging[] = [];
  afterEach(async () => {
    await Promise.all(open.splice(0).map((each) => each.stop()));
  });
  after(() => pool?.end());
  const database = withDatabase();

  before(async () => {
    await migrate(database.url);
    await database.admin(`${THINGS}; grant all on things to public`);
    pool = new pg.Pool({ connectionString: database.url, max: 4 });
  });
  beforeEach(() => database.admin('truncate things, warren.inbox'));

  const things = async () =>
    (await database.admin<{ id: string }>('select id from things order by id')).map(({ id }) => id);
  const save = async (
    { data }: { data: { thingId: string; name: string } },
    { transaction }: { transaction: pg.PoolClient },
  ) => {
    await transaction.query('insert into things values ($1, $2)', [data.thingId, data.name]);
  };
  const consumeFrom = (brokerUrl: string, hooks: Parameters<typeof createMessaging>[0]['hooks'] = {}) => {
    const messaging = createMessaging({ service: 'shelf', brokerUrl, hooks });
    open.push(messaging);
    createConsumer({ messaging, adapter: pgAdapter(pool), event: thingSaved, handler: save }).start();
    return messaging;
  };
  const eventOf = (thingId: string) => message(thingSaved, { thingId, name: 'x' }, { subject: thingId });

  describe('beside another user of the broker', () => {
    const broker = withBroker({ services: ['thing', 'shelf'] });

    it('dead-letters an event that its producer has not published', async () => {
      const forged: object[] = [];
      await consumeFrom(broker.url('shelf'), { onForged: (each) => forged.push(each) }).connected();
      const [, , content, properties] = eventOf('forged').published;
      // Of the broker's operator, who is not among the operators of this application.
      await broker.publish('shelf.return', QUEUE, content, properties);
      await broker.publish(...eventOf('true').published);
      await eventually(async () => expect(await things()).to.deep.equal(['true']));
      await eventually(async () => expect(await broker.queueDepth(`${QUEUE}.dlq`)).to.equal(1));
      const [dead] = await broker.get(`${QUEUE}.dlq`);
      expect(dead?.properties.headers?.['x-warren-reason']).to.equal('forged');
      expect(forged).to.deep.equal([{ queue: QUEUE, outcome: 'refused' }]);
    });
  });

  describe('without its broker', () => {
    const broker = withBroker({ services: ['thing', 'shelf'], private: true });

    it('starts, consumes when the broker is available, and again after an outage', async () => {
      const url = broker.url('shelf');
      await broker.stop();
      const states: string[] = [];
      const messaging = consumeFrom(url, { onState: (state) => states.push(state) });
      await eventually(() => expect(messaging.problem).to.match(/^broker unavailable/));
      expect(messaging.state).to.equal('connecting');
      await broker.start();
      await messaging.connected();
      await broker.publish(...eventOf('before').published);
      await eventually(async () => expect(await things()).to.deep.equal(['before']), { timeout: 30_000 });
      await broker.stop();
      await eventually(() => expect(states.at(-1)).to.equal('connecting'));
      await broker.start();
      await messaging.connected();
      await broker.publish(...eventOf('later').published);
      await eventually(async () => expect(await things()).to.deep.equal(['before', 'later']), {
        timeout: 30_000,
      });
    });
  });

  describe('with options', () => {
    const messagingOf = (options: Partial<Parameters<typeof createMessaging>[0]> = {}) =>
      createMessaging({ service: 'shelf', brokerUrl: 'amqp://guest:guest@127.0.0.1:1', ...options });
    const consumerOf = (messaging: Messaging) =>
      createConsumer({ messaging, adapter: pgAdapter(pool), event: thingSaved, handler: save });
    const refusals: Record<string, [() => unknown, RegExp]> = {
      'a broker URL of another scheme': [
        () => messagingOf({ brokerUrl: 'http://localhost' }),
        /createMessaging: brokerUrl must start with amqp:\/\/ or amqps:\/\//,
      ],
      'a broker user that does not contain its name': [
        () => messagingOf({ brokerUrl: 'amqp://other:x@localhost' }),
        /the user 'other' must contain the service's name 'shelf'/,
      ],
      'the broker definition of another service': [
        () => messagingOf({ service: 'other', broker: shelfBroker }),
        /the broker definition is of the service 'shelf', not 'other'/,
      ],
      'two consumers of one queue': [
        () => {
          const messaging = messagingOf();
          consumerOf(messaging);
          consumerOf(messaging);
        },
        /shelf\.thing\.saved has a consumer already/,
      ],
      'a queue that its broker definition lacks': [
        () =>
          createConsumer({
            messaging: messagingOf({ broker: shelfBroker }),
            adapter: pgAdapter(pool),
            event: thingCounted,
            handler: async () => {},
          }),
        /declares no queue shelf\.thing\.counted/,
      ],
      'settings of a queue that its broker definition has': [
        () =>
          createConsumer({
            messaging: messagingOf({ broker: shelfBroker }),
            adapter: pgAdapter(pool),
            event: thingSaved,
            handler: save,
            prefetch: 5,
          }),
        /prefetch of shelf\.thing\.saved is in the broker definition/,
      ],
      'the same options in another messaging': [
        () => consumerOf({ ...messagingOf() } as Messaging),
        /`messaging` has to come from createMessaging\(\)/,
      ],
    };
    for (const [what, [create, sentence]] of Object.entries(refusals))
      it(`refuses ${what}`, () => expect(create).to.throw(WarrenError, sentence));

    it('refuses to start after it was stopped', async () => {
      const messaging = messagingOf();
      const consumer = consumerOf(messaging);
      expect(await consumer.stop()).to.equal(true);
      expect(() => consumer.start()).to.throw(WarrenError, /create another one/);
    });
  });

  it('is tested without a broker: an event is handled once, and an error rolls back', async () => {
    const adapter = pgAdapter(pool);
    const data = { thingId: 'one', name: 'x' };
    const given = { service: 'shelf', adapter, event: thingSaved, data, handler: save };
    const { id, outcome } = await deliver(given);
    expect(outcome).to.equal('handled');
    expect((await deliver({ ...given, id })).outcome).to.equal('duplicate');
    const failing = deliver({
      ...given,
      data: { ...data, thingId: 'two' },
      handler: async (event, work) => {
        await save(event, work);
        throw new Error('no');
      },
    });
    expect(await failing.catch((error) => error.message)).to.equal('no');
    expect(await things()).to.deep.equal(['one']);
  });
});
