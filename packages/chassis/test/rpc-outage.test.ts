import { type TcpProxy as Cable, eventually, openProxy, withBroker } from '@warren/testkit';
import { type Channel, type ChannelModel, connect } from 'amqplib';
import { expect } from 'chai';
import { echo, gate, oracle, pilgrim, stage } from './fixtures/questions.ts';

const SERVICES = ['oracle', 'pilgrim'];
const SOON = 1_000;

describe('requests over a broker that comes and goes', function () {
  this.timeout(120_000);
  const broker = withBroker({ services: SERVICES, private: true });
  const { launch, ask, connected, brokerOf, metric } = stage(broker);

  it('fail at once while it is unavailable, also those in flight, and get replies after its recovery', async () => {
    const arrived = gate();
    const { promise, resolve } = gate();
    const server = await launch(
      oracle(async (...of) => {
        arrived.resolve();
        await promise;
        return echo(...of);
      }),
    );
    const asking = await launch(pilgrim);
    const inHand = ask(asking, 'timeout=60000');
    await arrived.promise;

    // Long before its own deadline.
    const killed = broker.kill();
    const { status, body } = await inHand;
    expect(status).to.equal(503);
    expect(body.code).to.equal('broker_unavailable');
    await killed;

    await eventually(async () => expect(await brokerOf(asking)).to.equal('connecting'));
    const asked = performance.now();
    const away = await ask(asking, 'timeout=30000');
    expect(away.status).to.equal(503);
    expect(away.body.code).to.equal('broker_unavailable');
    expect(away.headers.get('retry-after')).to.equal('1');
    expect(performance.now() - asked).to.be.below(SOON);
    expect(await metric(asking, 'rpc_duration_seconds_count', { outcome: 'unavailable' })).to.equal(2);

    resolve();
    await broker.start();
    await connected(asking);
    await connected(server);
    expect((await ask(asking, 'question=who')).body).to.deep.equal({ answer: 'who!' });
  });

  it('do not keep a service from being ready that was started while it was unavailable', async () => {
    await broker.stop();
    const asking = await launch(pilgrim, {}, false);
    expect(asking.ready()).to.equal(true);
    expect((await ask(asking)).body.code).to.equal('broker_unavailable');
    await broker.start();
    await connected(asking);
    await launch(oracle());
    expect((await ask(asking, 'question=who')).status).to.equal(200);
  });
});

describe('requests over a line that breaks', function () {
  this.timeout(90_000);
  const broker = withBroker({ services: SERVICES });
  const { launch, ask, connected, lines } = stage(broker);
  let cable: Cable;
  beforeEach(async () => {
    cable = await openProxy(broker.url('pilgrim'));
  });
  afterEach(() => cable.close());

  it('are answered again each time, whichever connection goes first', async () => {
    await launch(oracle());
    const asking = await launch(pilgrim, { AMQP_URL: cable.url });
    for (let round = 0; round < 15; round += 1) {
      const answers = Array.from({ length: 5 }, () => ask(asking, 'timeout=20000'));
      cable.cut(round / 2);
      for (const { status } of await Promise.all(answers)) expect(status).to.be.oneOf([200, 503]);
      await eventually(async () => expect((await ask(asking, 'timeout=1000')).status).to.equal(200), {
        timeout: 20_000,
      });
    }
  });

  it('are answered to replicas that call themselves the same', async () => {
    await launch(oracle());
    for (const each of [
      await launch(pilgrim, { INSTANCE: 'the-same' }),
      await launch(pilgrim, { INSTANCE: 'the-same' }),
    ])
      expect((await ask(each)).status).to.equal(200);
  });

  it('are answered by another replica when the one that had them is cut off', async () => {
    const arrived = gate();
    const far = await openProxy(broker.url('oracle'));
    const held = gate();
    const first = await launch(
      oracle(async () => {
        arrived.resolve();
        await held.promise;
        return { answer: 'too late' };
      }),
      { AMQP_URL: far.url },
    );
    const asking = await launch(pilgrim);
    const answered = ask(asking, 'timeout=20000');
    await arrived.promise;
    await launch(oracle());
    far.refuse(true);
    const { status, body } = await answered;
    expect(status).to.equal(200);
    expect(body.answer).to.equal('why!');
    held.resolve();
    far.refuse(false);
    await connected(first);
    await far.close();
    expect(lines.filter(({ level }) => level === 'error')).to.deep.equal([]);
  });
});

describe('a broker user and the requests of others', () => {
  const broker = withBroker({ services: SERVICES });
  const { launch, ask, probe } = stage(broker);
  let connection: ChannelModel;
  beforeEach(async () => {
    connection = await connect(broker.url('pilgrim'));
    connection.on('error', () => {});
  });
  afterEach(() => connection.close().catch(() => {}));

  const quorum = { durable: true, arguments: { 'x-queue-type': 'quorum' } };
  const refused: [string, (channel: Channel) => Promise<unknown>][] = [
    [
      "bind a queue to another's method",
      async (channel) => {
        await channel.assertQueue('pilgrim.spy', quorum);
        await channel.bindQueue('pilgrim.spy', 'rpc', 'oracle.answer.v1');
      },
    ],
    [
      "bind a queue to another's replies",
      async (channel) => {
        await channel.assertQueue('pilgrim.spy', quorum);
        await channel.bindQueue('pilgrim.spy', 'rpc', 'oracle.reply.#');
      },
    ],
    [
      'bind a queue to everything',
      async (channel) => {
        await channel.assertQueue('pilgrim.spy', quorum);
        await channel.bindQueue('pilgrim.spy', 'rpc', '#');
      },
    ],
    ["consume another's requests", (channel) => channel.consume('oracle.rpc', () => {})],
    ["purge another's requests", (channel) => channel.purgeQueue('oracle.rpc')],
    ['delete the exchange', (channel) => channel.deleteExchange('rpc')],
  ];
  for (const [what, attempt] of refused)
    it(`may not ${what}`, async () => {
      await launch(oracle());
      const channel = await connection.createChannel();
      const failure = new Promise<Error>((resolve) => channel.on('error', resolve));
      await attempt(channel).catch(() => {});
      expect((await failure).message).to.match(/403|ACCESS[_-]REFUSED/i);
    });

  it('may not take over the reply queue of a connection', async () => {
    await launch(oracle());
    const asking = await launch(pilgrim);
    const questions = await probe('rpc', 'oracle.#');
    await ask(asking);
    const replyTo = questions.events[0]?.properties.replyTo as string;
    const channel = await connection.createChannel();
    const failure = new Promise<Error>((resolve) => channel.on('error', resolve));
    await channel.consume(replyTo, () => {}).catch(() => {});
    expect((await failure).message).to.match(/405|RESOURCE[_-]LOCKED/i);
    expect((await ask(asking)).status).to.equal(200);
  });
});
