import { setTimeout as wait } from 'node:timers/promises';
import { eventually, managementOf, QUORUM_QUEUE_FLUSH_MS, withBroker, withDatabase } from '@warren/testkit';
import { connect } from 'amqplib';
import { expect } from 'chai';
import { FILL, prepare, startRelay, type TestRelay } from './fixtures/relay.ts';

const EVENTS = 20_000;
const AGGREGATES = 11;

describe('the relay, with thousands of events in flight,', function () {
  this.timeout(240_000);
  const broker = withBroker({ services: ['alpha'], private: true });
  const database = withDatabase({ private: true });
  let relay: TestRelay | undefined;

  before(() => prepare(database.url));
  afterEach(() => relay?.stop());

  const confirmed = async () => {
    const { values } = (await relay?.metrics.eventsPublished.get()) ?? { values: [] };
    return values.find(({ labels }) => labels.outcome === 'confirmed')?.value ?? 0;
  };
  const left = async () =>
    (await database.admin<{ n: number }>('select count(*)::int as n from warren.outbox'))[0]?.n;
  /** A queue that outlives the broker, and all that has come to it. */
  const catchAll = async (queue: string) => {
    const api = managementOf({ url: broker.adminUrl, managementUrl: broker.managementUrl });
    const at = encodeURIComponent(broker.vhost);
    await api.request('PUT', `queues/${at}/${queue}`, {
      durable: true,
      arguments: { 'x-queue-type': 'quorum' },
    });
    await api.request('POST', `bindings/${at}/e/events/q/${queue}`, { routing_key: '#', arguments: {} });
    return async () => {
      const connection = await connect(broker.adminUrl, { noDelay: true });
      const channel = await connection.createChannel();
      await channel.prefetch(500);
      const seen = new Set<string>();
      const came: Record<string, number[]> = {};
      let total = 0;
      await channel.consume(queue, (message) => {
        if (message === null) return;
        channel.ack(message);
        total += 1;
        const id = message.properties.messageId;
        if (seen.has(id)) return;
        seen.add(id);
        const { subject, data } = JSON.parse(message.content.toString());
        came[subject] = [...(came[subject] ?? []), Number(data.text)];
      });
      await eventually(() => seen.size === EVENTS, { timeout: 30_000 }).catch(() => {});
      await connection.close();
      return { came, missing: EVENTS - seen.size, twice: total - seen.size };
    };
  };
  const inOrder = (came: Record<string, number[]>) => {
    for (let n = 0; n < AGGREGATES; n += 1)
      expect(came[`a${n}`], `a${n}`).to.deep.equal(
        Array.from({ length: Math.ceil((EVENTS - n) / AGGREGATES) }, (_, i) => i + 1),
      );
  };

  it('loses none when the broker is killed, and keeps their order', async () => {
    const caught = await catchAll('broker-killed');
    await wait(QUORUM_QUEUE_FLUSH_MS);
    await database.admin(FILL, [EVENTS, AGGREGATES]);
    relay = startRelay({ databaseUrl: database.url, brokerUrl: broker.url('alpha') });
    await eventually(async () => (await confirmed()) > 2_000, { interval: 5, timeout: 20_000 });
    await broker.kill({ after: 0 });
    expect(await left(), 'still to be published').to.be.above(0);
    await broker.start();
    await eventually(async () => expect(await left()).to.equal(0), { timeout: 60_000 });

    const { came, missing, twice } = await caught();
    console.log(`        ${missing} missing, ${twice} of 20,000 twice`);
    expect(missing).to.equal(0);
    inOrder(came);
    expect(relay.lines.filter(({ level }) => level === 'error')).to.deep.equal([]);
  });

  it('loses none when the database is killed, and keeps their order', async () => {
    const caught = await catchAll('database-killed');
    await database.admin(FILL, [EVENTS, AGGREGATES]);
    relay = startRelay({ databaseUrl: database.url, brokerUrl: broker.url('alpha') });
    await eventually(async () => (await confirmed()) > 2_000, { interval: 5, timeout: 20_000 });
    await database.kill();
    await eventually(() => relay?.relay.active === false, { interval: 1 });
    await database.start();
    await eventually(async () => expect(await left()).to.equal(0), { timeout: 60_000 });

    const { came, missing, twice } = await caught();
    console.log(`        ${missing} missing, ${twice} of 20,000 twice`);
    expect(missing).to.equal(0);
    inOrder(came);
    const told = relay.lines.filter(
      ({ msg }) => msg === 'outbox relay lost its database connection; events stay in the outbox',
    );
    expect(told, 'once').to.have.length(1);
  });
});
