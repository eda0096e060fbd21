import { eventually, platformDefinitions, withBroker, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { FILL, prepare, startRelay, type TestRelay } from './fixtures/relay.ts';

const PATIENCE = { timeout: 60_000 };

describe('an event that no queue takes', function () {
  this.timeout(120_000);
  const database = withDatabase();
  const broker = withBroker({
    services: ['alpha'],
    definitions: platformDefinitions(['alpha'], undefined, ['alpha.written.v1']),
  });
  let relay: TestRelay | undefined;

  before(() => prepare(database.url));
  beforeEach(async () => {
    await database.admin('truncate warren.outbox');
    await broker.purge('unrouted');
  });
  afterEach(() => relay?.stop());

  const publishAll = async () => {
    relay = startRelay({ databaseUrl: database.url, brokerUrl: broker.url('alpha') });
    await eventually(async () => {
      const [row] = await database.admin<{ n: number }>('select count(*)::int n from warren.outbox');
      expect(row?.n).to.equal(0);
    }, PATIENCE);
  };
  const unconsumed = async () =>
    (await relay?.metrics.eventsUnconsumed.get())?.values.map(({ labels, value }) => ({ ...labels, value }));

  it('is counted and does not reach unrouted if its contract allows it', async () => {
    await database.admin(FILL, [500, 50]);
    await publishAll();
    expect(await unconsumed()).to.deep.equal([{ type: 'alpha.written', value: 500 }]);
    expect(await broker.queueDepth('unrouted')).to.equal(0);
  });

  it('goes to unrouted if its contract does not allow it', async () => {
    await database.admin(FILL, [10, 10]);
    await database.admin(`update warren.outbox set routing_key = 'alpha.lost.v1', type = 'alpha.lost'`);
    await publishAll();
    await eventually(async () => {
      const lost = await broker.get('unrouted');
      expect(lost.map(({ fields }) => fields.routingKey)).to.include('alpha.lost.v1');
    }, PATIENCE);
    expect((await unconsumed())?.map(({ type }) => type)).to.not.include('alpha.lost');
  });

  it('reaches its consumer as before, and is not counted', async () => {
    const probe = await broker.probe('events', 'alpha.written.v1');
    await database.admin(FILL, [20, 20]);
    await publishAll();
    await eventually(() => expect(probe.events).to.have.length(20), PATIENCE);
    expect(await unconsumed()).to.deep.equal([]);
    expect(await broker.queueDepth('unrouted')).to.equal(0);
    await probe.close();
  });
});
