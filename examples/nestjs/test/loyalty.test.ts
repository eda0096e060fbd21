import { join } from 'node:path';
import { createMessaging } from '@warren/chassis/messaging';
import { createRequests } from '@warren/chassis/rpc';
import { orderConfirmed } from '@warren/contracts';
import {
  checkContract,
  eventually,
  freePort,
  message,
  openProxy,
  type Probe,
  platformDefinitions,
  type RunningProcess,
  startProcess,
  withBroker,
  withDatabase,
} from '@warren/testkit';
import { expect } from 'chai';
import { findLoyalty } from '../src/contracts.ts';

const cwd = join(import.meta.dirname, '..');

describe('the example nestjs', function () {
  this.timeout(90_000);
  const names = ['loyalty', 'order', 'gateway'];
  const broker = withBroker({ services: names, definitions: platformDefinitions(names) });
  const database = withDatabase();
  let app: RunningProcess | undefined;
  let url: string;
  let probe: Probe;

  async function start({ brokerUrl = broker.url('loyalty') } = {}): Promise<RunningProcess> {
    const port = await freePort();
    const env = { PORT: port, ADMIN_PORT: port, AMQP_URL: brokerUrl, DATABASE_URL: database.url };
    app = startProcess({ cwd, entry: 'dist/main.js', env });
    await app.ready();
    url = `http://127.0.0.1:${port}`;
    return app;
  }
  beforeEach(async () => {
    probe = await broker.probe('events', 'loyalty.#');
  });
  afterEach(async () => {
    await app?.kill('SIGKILL');
    await probe.close();
    await database.admin('truncate rewards, accounts, warren.outbox, warren.inbox');
  });

  const order = (userId: string, price: number) =>
    message(orderConfirmed, {
      orderId: crypto.randomUUID(),
      userId,
      productName: 'a lamp',
      price,
      currency: 'EUR',
    });
  const pointsOf = async (userId: string) => (await fetch(`${url}/points/${userId}`)).json();
  const rows = async (table: string) => (await database.admin(`select 1 from ${table}`)).length;
  const totals = () => probe.events.map(({ body }) => body.data.total as number);

  it('gives a point for a whole unit, and publishes the total', async () => {
    await start();
    const userId = crypto.randomUUID();
    const { id, published } = order(userId, 12.99);
    await broker.publish(...published);
    const [event] = await probe.waitFor({ type: 'loyalty.points' });
    expect(event?.body).to.deep.include({ causationid: id });
    expect(event?.body.data).to.include({ userId, earned: 12, total: 12 });
    expect(await pointsOf(userId)).to.deep.equal({ userId, points: 12 });
  });

  it('has one effect, however often the event is delivered', async () => {
    await start();
    const userId = crypto.randomUUID();
    const first = order(userId, 10);
    for (const { published } of [first, first, first, order(userId, 5)]) await broker.publish(...published);
    await probe.waitFor({ type: 'loyalty.points', count: 2 });
    expect(await pointsOf(userId)).to.deep.equal({ userId, points: 15 });
    expect(await rows('rewards')).to.equal(2);
  });

  it('leaves neither row nor event when the handler fails, and succeeds at the retry', async () => {
    await start();
    await database.admin('alter table accounts add constraint few check (points < 100)');
    const userId = crypto.randomUUID();
    await broker.publish(...order(userId, 100).published);
    await eventually(() => expect(app?.output.join('\n')).to.match(/accounts.*few|few.*accounts/));
    expect([await rows('rewards'), await rows('warren.outbox'), totals()]).to.deep.equal([0, 0, []]);

    await database.admin('alter table accounts drop constraint few');
    await probe.waitFor({ type: 'loyalty.points' });
    expect(await pointsOf(userId)).to.deep.equal({ userId, points: 100 });
  });

  it('loses and doubles nothing when it is killed while it handles events', async () => {
    const first = await start();
    const userId = crypto.randomUUID();
    const orders = Array.from({ length: 400 }, () => order(userId, 1));
    const all = Promise.all(orders.map(({ published }) => broker.publish(...published)));
    await eventually(async () => expect(await rows('rewards')).to.be.greaterThan(0), { interval: 5 });
    const before = await rows('rewards');
    await first.kill('SIGKILL');
    await all;
    expect(before).to.be.lessThan(400);

    await start();
    await eventually(async () => expect(await pointsOf(userId)).to.deep.equal({ userId, points: 400 }), {
      timeout: 30_000,
    });
    await eventually(() => expect(new Set(totals()).size).to.equal(400));
    expect(await rows('rewards')).to.equal(400);
  });

  it('publishes after a restart what it committed while the broker was unavailable to its relay', async () => {
    const line = await openProxy(broker.url('loyalty'));
    const first = await start({ brokerUrl: line.url });
    await database.admin(
      "create function pause() returns trigger language plpgsql as 'begin perform pg_sleep(1); return new; end'",
    );
    await database.admin(
      'create trigger slow before insert on rewards for each row execute function pause()',
    );
    const userId = crypto.randomUUID();
    await broker.publish(...order(userId, 7).published);
    await eventually(async () =>
      expect(
        await database.admin(
          `select 1 from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()`,
        ),
      ).to.have.length(1),
    );
    line.refuse(true);
    await eventually(async () => expect(await rows('warren.outbox')).to.equal(1));
    await first.kill('SIGKILL');
    await line.close();
    await database.admin('drop trigger slow on rewards');
    expect(totals()).to.deep.equal([]);

    await start();
    await probe.waitFor({ type: 'loyalty.points' });
    expect(new Set(totals())).to.deep.equal(new Set([7]));
  });

  it('handles what it has begun, and publishes it, before it ends', async () => {
    const running = await start();
    const userId = crypto.randomUUID();
    await Promise.all(Array.from({ length: 100 }, () => broker.publish(...order(userId, 1).published)));
    await eventually(async () => expect(await rows('rewards')).to.be.greaterThan(0), { interval: 5 });
    await running.kill('SIGTERM');
    expect(await rows('warren.outbox')).to.equal(0);
    const rewarded = await rows('rewards');
    await eventually(() => expect(totals()).to.have.length(rewarded));
  });

  it('answers the requests of other services', async () => {
    await start();
    const messaging = createMessaging({ service: 'gateway', brokerUrl: broker.url('gateway') });
    const requests = createRequests({ messaging, calls: true });
    requests.start();
    try {
      await messaging.connected();
      const userId = crypto.randomUUID();
      expect(await requests.request(findLoyalty, { userId })).to.deep.equal({ userId, points: 0 });
      await broker.publish(...order(userId, 3.5).published);
      await probe.waitFor({ type: 'loyalty.points' });
      expect(await requests.request(findLoyalty, { userId })).to.deep.equal({ userId, points: 3 });
    } finally {
      await messaging.stop({ timeout: 5_000 });
    }
  });

  it('keeps the wire contract', async () => {
    const report = await checkContract({
      queue: 'loyalty.order.confirmed',
      sample: {
        orderId: crypto.randomUUID(),
        userId: crypto.randomUUID(),
        productName: 'Tea',
        price: 4.5,
        currency: 'EUR',
      },
      contract: await import('@warren/contracts'),
      brokerUrl: broker.adminUrl,
      managementUrl: broker.managementUrl,
      effects: { event: 'loyalty.points.v1' },
      start: {
        command: `cd '${cwd}' && exec node dist/main.js`,
        env: { AMQP_URL: broker.url('loyalty'), DATABASE_URL: database.url, PORT: String(await freePort()) },
      },
    });
    const broken = report.checks.filter(({ verdict }) => verdict === 'broken');
    expect(broken).to.deep.equal([]);
  });
});
