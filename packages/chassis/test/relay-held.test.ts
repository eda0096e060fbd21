import {
  eventually,
  managementOf,
  type Probe,
  type Recorded,
  withBroker,
  withDatabase,
} from '@warren/testkit';
import { expect } from 'chai';
import { outboxHeld } from '../src/outbox/stats.ts';
import { FILL, openWriter, prepare, startRelay, type TestRelay, type Writer } from './fixtures/relay.ts';

const HELD = 'a queue rejected events of this routing key (is one full?); holding them back and retrying';
const RELEASED = 'events of this routing key are accepted again';
const PATIENCE = { timeout: 60_000 };

describe('the relay, while one bound queue rejects what is published,', function () {
  this.timeout(240_000);
  const database = withDatabase();
  const broker = withBroker({ services: ['alpha'] });
  const QUEUE = `bounded-${process.pid}`;
  let relay: TestRelay | undefined;
  let writer: Writer;
  let probe: Probe;

  const api = () => managementOf({ url: broker.adminUrl, managementUrl: broker.managementUrl });
  const at = () => encodeURIComponent(broker.vhost);
  /** An operator's policy: the queue takes so many messages, and rejects the others. */
  const limit = (length: number) =>
    api().request('PUT', `policies/${at()}/cap`, {
      pattern: `^${QUEUE}$`,
      definition: { 'max-length': length, overflow: 'reject-publish' },
      'apply-to': 'queues',
    });
  /** Until the queue is full: a policy reaches it a moment later, and a quorum queue says so a few messages later. */
  const limited = async (length: number) => {
    await limit(length);
    await eventually(
      () =>
        broker.publish('', QUEUE, 'x').then(
          () => Promise.reject(new Error('it is not full')),
          () => {},
        ),
      { ...PATIENCE, interval: 10 },
    );
  };
  const unlimited = () => api().request('DELETE', `policies/${at()}/cap`);

  before(() => prepare(database.url));
  beforeEach(async () => {
    await database.admin('truncate warren.outbox, counters');
    await api().request('PUT', `queues/${at()}/${QUEUE}`, {
      durable: true,
      arguments: { 'x-queue-type': 'quorum' },
    });
    await api().request('POST', `bindings/${at()}/e/events/q/${QUEUE}`, {
      routing_key: 'alpha.full.v1',
      arguments: {},
    });
    probe = await broker.probe('events', 'alpha.#');
    writer = await openWriter(database.url, { onCommit: () => relay?.relay.wake() });
  });
  afterEach(async () => {
    await relay?.stop();
    relay = undefined;
    await writer.close();
    await probe.close();
    await unlimited();
    await broker.deleteQueue(QUEUE);
  });

  const launch = async () => {
    relay = startRelay({ databaseUrl: database.url, brokerUrl: broker.url('alpha') });
    return relay;
  };
  const count = async (condition = 'true') =>
    (await database.admin<{ n: number }>(`select count(*)::int n from warren.outbox where ${condition}`))[0]
      ?.n as number;
  const toFull = (condition: string) =>
    database.admin(`update warren.outbox set routing_key = 'alpha.full.v1' where ${condition}`);
  const published = (key = /./) => probe.events.filter(({ fields }) => key.test(fields.routingKey));
  const ids = (events: readonly Recorded[]) => new Set(events.map(({ properties }) => properties.messageId));
  const duplicates = (key?: RegExp) => published(key).length - ids(published(key)).size;
  const said = (msg: string) => relay?.lines.filter((line) => line.msg === msg) ?? [];
  /** The texts of each aggregate in the order in which they came first. */
  const inOrder = () => {
    const seen = new Set<string>();
    const last = new Map<string, number>();
    for (const { properties, body } of probe.events) {
      if (seen.has(properties.messageId)) continue;
      seen.add(properties.messageId);
      const text = Number(body.data.text);
      expect(text, body.subject).to.equal((last.get(body.subject) ?? 0) + 1);
      last.set(body.subject, text);
    }
  };

  it('publishes all other events once, in order, logs that once, and recovers by itself', async () => {
    await limited(1);
    await database.admin(FILL, [600, 40]);
    await toFull(`aggregate in ('a1', 'a7')`); // 30 events
    await launch();

    await eventually(() => expect(ids(published(/written/)).size).to.equal(570), PATIENCE);
    await eventually(async () => expect(await count('held_at is null')).to.equal(0), PATIENCE);
    const held = await count();
    expect(held).to.equal(30);
    expect(said(HELD).map(({ routingKey }) => routingKey)).to.deep.equal(['alpha.full.v1']);

    // While it is held other events go on, and those behind it in its aggregates do not.
    const before = published(/written/).length;
    for (let n = 0; n < 20; n += 1) await writer.next('free');
    await database.admin(
      `insert into warren.outbox (event_id, type, routing_key, aggregate, body, correlation_id)
       select gen_random_uuid(), 'alpha.written', 'alpha.written.v1', 'a1',
              replace(body, '"text" : "15"', '"text" : "16"'), 'test'
       from warren.outbox where aggregate = 'a1' order by id desc limit 1`,
    );
    relay?.relay.wake();
    await eventually(() => expect(published(/written/).length).to.equal(before + 20), PATIENCE);
    expect(await count(`routing_key = 'alpha.written.v1'`), 'behind what is held').to.equal(1);
    expect(duplicates(/written/)).to.equal(0);

    // Several attempts, each with one event.
    const soFar = published(/full/).length;
    await eventually(() => expect(published(/full/).length).to.be.at.least(soFar + 3), PATIENCE);
    expect(published(/full/).length - ids(published(/full/)).size).to.be.below(25);

    await unlimited();
    await eventually(async () => expect(await count()).to.equal(0), PATIENCE);
    expect(ids(probe.events).size).to.equal(621);
    expect(duplicates(/written/)).to.equal(0);
    expect(duplicates(/full/), 'each once, and the attempts').to.be.below(30 + 60);
    inOrder();
    await eventually(() => expect(said(RELEASED)).to.have.length(1), PATIENCE);
    expect(said(HELD)).to.have.length(1);
    // The queue that was full has all of them, too.
    const got = (await broker.get(QUEUE)).filter(({ fields }) => fields.routingKey === 'alpha.full.v1');
    expect(ids(got).size).to.equal(30);
  });

  it('is not stopped by more held events than its window has room for', async () => {
    await limited(1);
    await database.admin(FILL, [4_000, 4_000]);
    await toFull('id <= (select min(id) + 2999 from warren.outbox)');
    await launch();

    await eventually(() => expect(ids(published(/written/)).size).to.equal(1_000), PATIENCE);
    await eventually(async () => expect(await count('held_at is null')).to.equal(0), PATIENCE);
    expect(await count()).to.be.above(2_900);
    await writer.next('free');
    await eventually(() => expect(ids(published(/written/)).size).to.equal(1_001), PATIENCE);
    expect(published(/full/).length, 'the window, and some attempts').to.be.below(1_500);

    await unlimited();
    await eventually(async () => expect(await count()).to.equal(0), { timeout: 120_000 });
    expect(ids(probe.events).size).to.equal(4_001);
    expect(duplicates(/written/)).to.equal(0);
  });

  it('keeps events held when another process takes over, and counts them', async () => {
    await limited(1);
    await database.admin(FILL, [200, 200]);
    await toFull('true');
    await launch();
    await eventually(async () => expect(await count('held_at is null')).to.equal(0), PATIENCE);
    const held = await count();
    expect(await outboxHeld(writer.database.kysely)).to.deep.equal([{ key: 'alpha.full.v1', held }]);
    await relay?.stop();
    const soFar = published().length;

    await launch();
    await writer.next('free');
    await eventually(() => expect(published(/written/)).to.have.length(1), PATIENCE);
    await eventually(() => expect(published(/full/).length).to.be.at.least(soFar + 1), PATIENCE);
    expect(published(/full/).length).to.be.below(soFar + 40);
    expect(said(HELD)).to.have.length(1);

    await unlimited();
    await eventually(async () => expect(await count()).to.equal(0), PATIENCE);
    await eventually(() => expect(said(RELEASED)).to.have.length(1), PATIENCE);
    expect(await outboxHeld(writer.database.kysely)).to.deep.equal([]);
  });

  it('ends in time, and leaves held events for the next process', async () => {
    await limited(1);
    await database.admin(FILL, [50, 50]);
    await toFull('true');
    await launch();
    await eventually(async () => expect(await count('held_at is null')).to.equal(0), PATIENCE);
    const held = await count();
    await relay?.stop(20_000);
    expect(await count('held_at is not null')).to.be.within(held - 2, held);
  });
});
