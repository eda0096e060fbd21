// Tasks on every driver and ORM.
import { migrate } from '@warren/chassis/migrations';
import { createTasks, createWorker, type Tasks, type TaskWorker } from '@warren/chassis/tasks';
import { pendingEvents } from '@warren/chassis/testing';
import { eventually, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { type Candidate, candidates } from './fixtures/candidates.ts';
import { publications, THINGS, thingSaved } from './fixtures/things.ts';

for (const [name, open] of Object.entries(candidates))
  describe(`tasks on ${name}`, function () {
    this.timeout(60_000);
    let candidate: Candidate<unknown>;
    let tasks: Tasks<unknown>;
    let worker: TaskWorker | undefined;
    afterEach(async () => {
      await worker?.stop();
      worker = undefined;
    });
    after(() => candidate?.close());
    const database = withDatabase();

    before(async () => {
      await migrate(database.url);
      await database.admin(`${THINGS}; grant all on things to public`);
      candidate = (await open(database.url)) as Candidate<unknown>;
      tasks = createTasks({ adapter: candidate.adapter });
    });
    beforeEach(() => database.admin('truncate things, warren.tasks, warren.outbox'));

    type Performed = { key: string; data: { name: string }; attempts: number };
    const work = (perform: (task: Performed) => Promise<string>, concurrency = 2) => {
      worker = createWorker<{ name: string }, string, unknown>({
        service: 'thing',
        adapter: candidate.adapter,
        kind: 'print',
        perform,
        complete: async ({ key, data }, result, { transaction, emit }) => {
          await candidate.save(transaction, key, result);
          await emit(thingSaved, { thingId: key, name: data.name }, { aggregate: key });
        },
        publications,
        concurrency,
        hooks: { log: { debug() {}, info() {}, warn() {}, error() {} } },
      });
      worker.start();
    };
    const things = () =>
      database.admin<{ id: string; name: string }>('select id, name from things order by id');
    const left = async () =>
      (await database.admin('select key from warren.tasks order by key')).map(({ key }) => key);

    it('are done after their transaction, and write their result and event', async () => {
      const seen: Performed[] = [];
      work(async (task) => {
        seen.push(task);
        return `printed ${task.data.name}`;
      });
      await candidate.begin((handle) =>
        tasks.schedule(handle, 'print', { key: "o'ne", data: { name: 'a "name"' } }),
      );
      worker?.wake();
      await eventually(async () =>
        expect(await things()).to.deep.equal([{ id: "o'ne", name: 'printed a "name"' }]),
      );
      expect(seen).to.deep.equal([{ key: "o'ne", data: { name: 'a "name"' }, attempts: 1 }]);
      expect(await left()).to.deep.equal([]);
      const [event] = await pendingEvents((text, values) => database.admin(text, [...values]));
      expect(event).to.include({ type: 'thing.saved', source: '/thing', subject: "o'ne" });
    });

    it('are not done when their transaction was rolled back, before their time, or when they were unscheduled', async () => {
      const unscheduled: boolean[] = [];
      const failing = candidate.begin(async (handle) => {
        await tasks.schedule(handle, 'print', { key: 'rolled back' });
        throw new Error('no');
      });
      expect(await failing.catch((error) => error.message)).to.equal('no');
      await candidate.begin(async (handle) => {
        await tasks.schedule(handle, 'print', { key: 'later', at: new Date(Date.now() + 3_600_000) });
        await tasks.schedule(handle, 'print', { key: 'never' });
        await tasks.schedule(handle, 'print', { key: 'now', data: { name: 'x' } });
        unscheduled.push(await tasks.unschedule(handle, 'print', 'never'));
        unscheduled.push(await tasks.unschedule(handle, 'print', 'unknown'));
      });
      expect(unscheduled).to.deep.equal([true, false]);
      work(async ({ key }) => key);
      await eventually(async () => expect((await things()).map(({ id }) => id)).to.deep.equal(['now']));
      expect(await left()).to.deep.equal(['later']);
    });

    it('are done again after a failure, under the same key', async () => {
      await candidate.begin((handle) => tasks.schedule(handle, 'print', { key: 'one', data: { name: 'x' } }));
      work(async ({ attempts }) => {
        if (attempts === 1) throw new Error('not yet');
        return `attempt ${attempts}`;
      });
      await eventually(async () => expect(await things()).to.deep.equal([{ id: 'one', name: 'attempt 2' }]), {
        timeout: 20_000,
      });
    });

    it('that have begun are finished when their worker stops, and the others are left to another', async () => {
      const begun: string[] = [];
      const going = Promise.withResolvers<void>();
      await candidate.begin(async (handle) => {
        for (const key of ['1', '2', '3'])
          await tasks.schedule(handle, 'print', { key, data: { name: key } });
      });
      work(async ({ key }) => {
        begun.push(key);
        await going.promise;
        return key;
      }, 1);
      await eventually(() => expect(begun).to.have.length(1));
      const stopped = worker?.stop({ timeout: 20_000 });
      going.resolve();
      expect(await stopped).to.equal(true);
      expect((await things()).map(({ id }) => id)).to.deep.equal(begun);
      const released = `select count(*)::int as n from warren.tasks where lease is null and due_at <= now()`;
      expect(await database.admin(released)).to.deep.equal([{ n: 2 }]);
    });
  });
