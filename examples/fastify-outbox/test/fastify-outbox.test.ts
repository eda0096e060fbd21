import { join } from 'node:path';
import { userCreated } from '@warren/contracts';
import {
  eventually,
  freePort,
  message,
  openProxy,
  type Probe,
  type RunningProcess,
  startProcess,
  withBroker,
  withDatabase,
} from '@warren/testkit';
import { expect } from 'chai';

describe('the example fastify-outbox', function () {
  this.timeout(60_000);
  const broker = withBroker({ services: ['thing', 'user'] });
  const database = withDatabase();
  let app: RunningProcess | undefined;
  let url: string;
  let probe: Probe;

  async function start({ brokerUrl = broker.url('thing') } = {}): Promise<RunningProcess> {
    const port = await freePort();
    const env = { PORT: port, ADMIN_PORT: port, AMQP_URL: brokerUrl, DATABASE_URL: database.url };
    app = startProcess({ cwd: join(import.meta.dirname, '..'), env });
    await app.ready();
    url = `http://127.0.0.1:${port}`;
    return app;
  }
  beforeEach(async () => {
    probe = await broker.probe('events', 'thing.#');
  });
  afterEach(async () => {
    await app?.kill('SIGKILL');
    await probe.close();
    await database.admin('truncate things, warren.outbox');
  });

  const save = async (name: string): Promise<string> => {
    const response = await fetch(`${url}/things`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name }),
    });
    expect(response.status).to.equal(201);
    return ((await response.json()) as { id: string }).id;
  };
  const saved = async () =>
    (await database.admin<{ id: string }>('select id from things')).map(({ id }) => id);
  const left = async () => (await database.admin('select 1 from warren.outbox')).length;
  const published = () => probe.events.map(({ body }) => body.data.thingId as string);

  it('saves a thing and publishes its event', async () => {
    await start();
    const id = await save('a lamp');
    const [event] = await probe.waitFor({ type: 'thing.saved' });
    expect(event?.body.data).to.deep.equal({ thingId: id, name: 'a lamp' });
    expect(await saved()).to.deep.equal([id]);
  });

  it('saves nothing and publishes nothing when the request is invalid', async () => {
    await start();
    const response = await fetch(`${url}/things`, { method: 'POST' });
    expect([response.status, await saved(), await left()]).to.deep.equal([400, [], 0]);
  });

  it('loses no event when it is killed between save and publish', async () => {
    const line = await openProxy(broker.url('thing'));
    const first = await start({ brokerUrl: line.url });
    line.refuse(true);
    const ids = [await save('one'), await save('two'), await save('three')];
    await first.kill('SIGKILL');
    await line.close();
    expect([await left(), published()]).to.deep.equal([3, []]);

    await start();
    await probe.waitFor({ type: 'thing.saved', count: 3 });
    expect(published().sort()).to.deep.equal(ids.sort());
    await eventually(async () => expect(await left()).to.equal(0));
  });

  it('publishes every thing that it has saved when it is killed under load', async () => {
    const first = await start();
    const answered: string[] = [];
    const clients = Array.from({ length: 5 }, async () => {
      for (;;) answered.push(await save('many'));
    }).map((client) => client.catch(() => {}));
    await eventually(() => expect(answered.length).to.be.greaterThan(100));
    await first.kill('SIGKILL');
    await Promise.all(clients);

    await start();
    const things = await saved();
    expect(things).to.include.members(answered);
    await eventually(() => expect(new Set(published())).to.deep.equal(new Set(things)));
    await eventually(async () => expect(await left()).to.equal(0));
  });

  it('gives a new user one thing, however often the event is delivered', async () => {
    await start();
    const ada = message(userCreated, { userId: crypto.randomUUID(), name: 'Ada', email: 'ada@example.com' });
    const bob = message(userCreated, { userId: crypto.randomUUID(), name: 'Bob', email: 'bob@example.com' });
    for (const { published } of [ada, ada, ada, bob]) await broker.publish(...published);
    await probe.waitFor(({ body }) => body.data.thingId === bob.id);
    expect((await saved()).sort()).to.deep.equal([ada.id, bob.id].sort());
    expect(published().sort()).to.deep.equal([ada.id, bob.id].sort());
  });

  it('publishes what it has saved before it ends', async () => {
    const running = await start();
    const ids = await Promise.all(Array.from({ length: 20 }, (_, n) => save(`${n}`)));
    expect(await running.kill('SIGTERM')).to.equal(0);
    expect(await left()).to.equal(0);
    await probe.waitFor({ type: 'thing.saved', count: 20 });
    expect(published().sort()).to.deep.equal(ids.sort());
  });
});
