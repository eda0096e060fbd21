import { pgAdapter } from '@warren/chassis/adapters/pg';
import { migrate } from '@warren/chassis/migrations';
import { createOutbox, createRelay, type OutboxRelay, type RelayOptions } from '@warren/chassis/outbox';
import { pendingEvents, publishPending } from '@warren/chassis/testing';
import { eventually, openProxy, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import pg from 'pg';
import { publications, thingSaved } from './fixtures/things.ts';

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

describe('a relay without a service', function () {
  this.timeout(60_000);
  let pool: pg.Pool;
  let relays: OutboxRelay[] = [];
  after(() => pool?.end());
  const broker = withBroker({ services: ['thing'] });
  const database = withDatabase();

  before(async () => {
    await migrate(database.url);
    pool = new pg.Pool({ connectionString: database.url });
  });
  afterEach(async () => {
    for (const relay of relays) await relay.stop({ timeout: 0 });
    relays = [];
    await database.admin('truncate warren.outbox');
  });

  const options = (more: Partial<RelayOptions> = {}): RelayOptions => ({
    service: 'thing',
    databaseUrl: database.url,
    brokerUrl: broker.url('thing'),
    log: quiet,
    ...more,
  });
  const relayWith = (more?: Partial<RelayOptions>): OutboxRelay => {
    const relay = createRelay(options(more));
    relays.push(relay);
    return relay;
  };
  const outboxOf = (relay?: OutboxRelay) =>
    createOutbox({ service: 'thing', publications, adapter: pgAdapter(pool), ...(relay && { relay }) });
  const emit = (outbox: ReturnType<typeof outboxOf>, ...ids: string[]) =>
    outbox.transaction((client) =>
      outbox.emitAll(
        client,
        ids.map((id) => ({ event: thingSaved, data: { thingId: id, name: id }, aggregate: 'one' })),
      ),
    );
  const pending = async () =>
    (await pendingEvents((text, values) => database.admin(text, [...values]))).map(({ id }) => id);

  it('publishes what was emitted, in order, under its own user, and reports it', async () => {
    const probe = await broker.probe('events', 'thing.#');
    const published: { type: string; outcome: string; seconds: number }[] = [];
    const relay = relayWith({ onPublished: (each) => published.push(each) });
    relay.start();
    const ids = await emit(outboxOf(relay), 'a', 'b', 'c');
    await eventually(() => expect(published).to.have.length(3));
    const messages = await probe.waitFor({ type: 'thing.saved', count: 3 });
    expect(messages.map(({ properties }) => properties.messageId)).to.deep.equal(ids);
    expect(messages[0]?.properties).to.include({ type: 'thing.saved', appId: 'thing' });
    expect(messages[0]?.properties.userId).to.equal(new URL(broker.url('thing')).username);
    for (const each of published) {
      expect(each).to.include({ type: 'thing.saved', outcome: 'confirmed' });
      expect(each.seconds).to.be.greaterThan(0).and.lessThan(10);
    }
    await eventually(async () => expect(await pending()).to.deep.equal([]));
    expect([relay.active, relay.problem]).to.deep.equal([true, undefined]);
  });

  it('finds what another process has emitted', async () => {
    const relay = relayWith();
    relay.start();
    await eventually(() => expect(relay.active).to.equal(true));
    await emit(outboxOf(), 'a');
    await eventually(async () => expect(await pending()).to.deep.equal([]));
  });

  it('publishes what is there before it stops, and nothing afterwards', async () => {
    const relay = relayWith();
    relay.start();
    const outbox = outboxOf(relay);
    await emit(outbox, 'first');
    await eventually(async () => expect(await pending()).to.deep.equal([]));
    await emit(outbox, ...Array.from({ length: 500 }, (_, n) => `${n}`));
    await relay.stop({ timeout: 10_000 });
    expect(await pending()).to.deep.equal([]);
    const [late] = await emit(outbox, 'late');
    expect([await pending(), relay.active]).to.deep.equal([[late], false]);
  });

  it('keeps the events while the broker is unavailable, says why, and stops in time', async () => {
    const proxy = await openProxy(broker.url('thing'));
    proxy.refuse(true);
    const relay = relayWith({ brokerUrl: proxy.url });
    relay.start();
    const ids = await emit(outboxOf(relay), 'a', 'b');
    await eventually(() => expect(relay.problem).to.match(/broker unavailable/));
    const started = performance.now();
    await relay.stop({ timeout: 300 });
    expect(performance.now() - started).to.be.lessThan(5_000);
    expect(await pending()).to.deep.equal(ids);
    await proxy.close();
  });

  it('leaves the work to one of several processes, and the next one takes over', async () => {
    const [first, second] = [relayWith(), relayWith()];
    first.start();
    await eventually(() => expect(first.active).to.equal(true));
    second.start();
    await emit(outboxOf(), 'a');
    await eventually(async () => expect(await pending()).to.deep.equal([]));
    expect(second.active).to.equal(false);
    await first.stop();
    await emit(outboxOf(), 'b');
    await eventually(async () => expect(await pending()).to.deep.equal([]));
    expect(second.active).to.equal(true);
  });

  it('publishes the outbox of a test until it is empty', async () => {
    const probe = await broker.probe('events', 'thing.#');
    await emit(outboxOf(), 'a', 'b');
    await publishPending(options());
    expect(await pending()).to.deep.equal([]);
    await probe.waitFor({ type: 'thing.saved', count: 2 });
  });

  it('tells a test why events are left', async () => {
    await emit(outboxOf(), 'a');
    const error = await publishPending({
      ...options({ brokerUrl: 'amqp://thing@127.0.0.1:1' }),
      timeout: 500,
    }).then(
      () => expect.fail('it was published'),
      (error) => error as Error,
    );
    expect(error.message).to.match(/^1 events are left in the outbox after 500 ms: broker unavailable/);
  });

  it('refuses options that cannot work, and names them', () => {
    expect(() => createRelay(options({ brokerUrl: 'http://localhost' }))).to.throw(
      /createRelay: brokerUrl must start with amqp:\/\/ or amqps:\/\//,
    );
    expect(() => createRelay(options({ databaseUrl: undefined as unknown as string }))).to.throw(
      /databaseUrl is required/,
    );
    expect(() => createRelay(options({ databaseUrl: 'postgres://a,b/x' }))).to.throw(
      /databaseUrl must not have several hosts/,
    );
    const relay = relayWith();
    relay.start();
    expect(() => relay.start()).to.throw(/started once/);
  });
});
