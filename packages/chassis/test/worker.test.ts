import { eventually, openProxy, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import type { Kysely } from 'kysely';
import { sendOn } from '../src/database/dialect.ts';
import { countPendingTasks } from '../src/tasks/pending.ts';
import { WorkerRunner } from '../src/tasks/runner.ts';
import type { Task, Worker } from '../src/tasks/worker.ts';
import { createUnitsOfWork } from '../src/units-of-work.ts';
import {
  NOTE,
  openWriter,
  prepare,
  recordedLog,
  type Schema,
  silent,
  type Writer,
} from './fixtures/relay.ts';
import { written } from './fixtures/services.ts';

type Complete = Worker<object, unknown, Schema>['complete'];

describe('a worker', function () {
  this.timeout(60_000);
  const database = withDatabase();
  const runners: WorkerRunner[] = [];
  let writer: Writer;

  before(() => prepare(database.url));
  beforeEach(async () => {
    await database.admin('truncate warren.tasks, warren.outbox, effects');
    writer = await openWriter(database.url, { connections: 20 });
  });
  afterEach(async () => {
    await Promise.all(runners.splice(0).map((runner) => runner.stop()));
    await writer.close();
  });

  /** The effect of a task, and an event that tells of it. */
  const write: Complete = async ({ key }, _, { transaction, emit }) => {
    await transaction.insertInto('effects').values({ id: key }).execute();
    await emit(written, { noteId: NOTE, text: key }, { aggregate: key });
  };
  /** One replica's. */
  const launch = (worker: Partial<Worker>, units = writer.units, log = silent) => {
    const runner = new WorkerRunner(
      { kind: 'charge', complete: write, ...worker },
      { units, send: sendOn(units.database), config: {}, log },
    );
    runners.push(runner);
    runner.start();
    return runner;
  };
  const schedule = (key: string, task: { at?: Date; data?: object } = {}) =>
    writer.units.run({ correlationId: `by ${key}`, log: silent }, (work) =>
      work.schedule('charge', { key, ...task }),
    );
  const effects = async () =>
    (await database.admin<{ id: string }>('select id from effects order by id')).map(({ id }) => id);
  const tasks = () =>
    database.admin<{ key: string; attempts: number; last_error: string | null; due: number }>(
      'select key, attempts, last_error, extract(epoch from due_at - clock_timestamp())::float8 as due from warren.tasks order by id',
    );
  const done = (count: number) =>
    eventually(async () => expect(await effects()).to.have.length(count), { timeout: 20_000 });

  const unschedule = (key: string) =>
    writer.units.run({ correlationId: 'c', log: silent }, (work) => work.unschedule('charge', key));

  it('never begins what was taken back before', async () => {
    await schedule('a');
    expect(await unschedule('a')).to.equal(true);
    expect(await unschedule('a'), 'there is none any more').to.equal(false);
    await schedule('b');
    launch({});
    await done(1);
    expect(await effects()).to.deep.equal(['b']);
  });

  it('finishes a task that it has begun, also if the task is unscheduled', async () => {
    const begun = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    await schedule('a');
    launch({
      perform: async () => {
        begun.resolve();
        await go.promise;
      },
    });
    await begun.promise;
    expect(await unschedule('a')).to.equal(false);
    go.resolve();
    await done(1);
  });

  it('may read and write in perform, outside the transaction of its task', async () => {
    await schedule('a');
    let attempts = 0;
    launch({
      perform: async (_, { database }: { database: Kysely<Schema> }) => {
        await database
          .insertInto('effects')
          .values({ id: `attempt ${++attempts}` })
          .execute();
        if (attempts === 1) throw new Error('not yet');
      },
    });
    await done(3);
    expect(await effects()).to.deep.equal(['a', 'attempt 1', 'attempt 2']);
  });

  it('leaves what failed once where it is: it may have had its effect', async () => {
    await schedule('a');
    launch({
      perform: async () => {
        throw new Error('no answer');
      },
    });
    await eventually(async () => expect((await tasks())[0]).to.include({ last_error: 'no answer' }));
    expect(await unschedule('a')).to.equal(false);
    expect(await tasks()).to.have.length(1);
  });

  it('performs in no transaction, then writes the result, the event and the end of the task in one', async () => {
    let open: unknown;
    const seen: Task[] = [];
    await schedule('a', { data: { amount: 5 } });
    launch({
      perform: async (task) => {
        seen.push(task);
        [open] = await database.admin(
          `select count(*)::int as n from pg_stat_activity where application_name = 'writer' and datname = current_database() and state like 'idle in%'`,
        );
        return 'paid';
      },
      complete: async (task, result, work) => {
        expect(result).to.equal('paid');
        await write(task, result, work);
      },
    });
    await done(1);
    expect(open).to.deep.equal({ n: 0 });
    expect(seen).to.deep.equal([{ key: 'a', data: { amount: 5 }, attempts: 1 }]);
    expect(await tasks()).to.deep.equal([]);
    const [event] = await database.admin('select aggregate, correlation_id from warren.outbox');
    expect(event).to.deep.equal({ aggregate: 'a', correlation_id: 'by a' });
  });

  it('rolls back a complete that fails, and does the task again later', async () => {
    await schedule('a');
    let times = 0;
    launch({
      complete: async (task, result, work) => {
        await write(task, result, work);
        times += 1;
        if (times === 1) throw new Error('half way');
      },
    });
    await eventually(async () => expect((await tasks())[0]?.last_error).to.equal('half way'));
    expect(await effects()).to.deep.equal([]);
    expect(await database.admin('select 1 from warren.outbox')).to.have.length(0);
    await done(1);
    expect(await database.admin('select 1 from warren.outbox')).to.have.length(1);
  });

  it('shares the work with its replicas: no task twice, none at two at once', async () => {
    await Promise.all(Array.from({ length: 500 }, (_, i) => schedule(`t${i}`)));
    const performed = new Set<string>();
    const attempts: string[] = [];
    const byReplica: number[] = [];
    const since = performance.now();
    for (let replica = 0; replica < 4; replica += 1) {
      byReplica.push(0);
      launch({
        perform: async ({ key }) => {
          expect(performed.has(key), `${key} at two at once`).to.equal(false);
          performed.add(key);
          attempts.push(key);
          byReplica[replica] = (byReplica[replica] as number) + 1;
          await new Promise((resolve) => setTimeout(resolve, 2));
          performed.delete(key);
        },
      });
    }
    await done(500);
    console.log(
      `        500 tasks by 4 replicas (${byReplica.join(', ')}) in ${Math.round(performance.now() - since)} ms`,
    );
    expect(attempts).to.have.length(500);
    expect(Math.min(...byReplica)).to.be.above(0);
    expect(await tasks()).to.deep.equal([]);
  });

  it('that died leaves its task to another one, who does it under the same key; coming back, it writes nothing', async () => {
    await schedule('a');
    const stuck = Promise.withResolvers<void>();
    const { log, lines } = recordedLog();
    const dead = launch(
      {
        concurrency: 1,
        perform: () => stuck.promise,
        complete: (task, result, work) => write({ ...task, key: 'by the dead' }, result, work),
      },
      writer.units,
      log,
    );
    await eventually(async () => expect((await tasks())[0]?.attempts).to.equal(1));
    const [claimed] = await tasks();
    expect(claimed?.due, 's until the lease ends').to.be.within(18, 20);

    const keys: string[] = [];
    launch({ perform: async ({ key, attempts }) => void keys.push(`${key} ${attempts}`) });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(keys, 'before the lease ends').to.deep.equal([]);
    await database.admin('update warren.tasks set due_at = now()');
    await done(1);
    expect(keys).to.deep.equal(['a 2']);
    stuck.resolve();
    await eventually(() =>
      expect(lines.map(({ msg }) => msg)).to.include('lease lost: another replica has taken over this task'),
    );
    await dead.stop();
    expect(await effects()).to.deep.equal(['a']);
    expect(await tasks()).to.deep.equal([]);
  });

  it('keeps its claim for as long as it is at it', async () => {
    await schedule('a');
    const stuck = Promise.withResolvers<void>();
    launch({ perform: () => stuck.promise });
    await eventually(async () => expect((await tasks())[0]?.attempts).to.equal(1));
    const claimedUntil = async () =>
      (await database.admin<{ at: Date }>('select due_at as at from warren.tasks'))[0]?.at.getTime() ?? 0;
    const first = await claimedUntil();
    await eventually(async () => expect(await claimedUntil()).to.be.above(first + 3_000), {
      timeout: 10_000,
    });
    stuck.resolve();
    await done(1);
    expect(await tasks()).to.deep.equal([]);
  });

  it('neither completes nor postpones a task that fails after another has taken its lease', async () => {
    await schedule('a');
    const stuck = Promise.withResolvers<void>();
    launch({ perform: () => stuck.promise });
    await eventually(async () => expect((await tasks())[0]?.attempts).to.equal(1));
    // Another replica's claim.
    await database.admin(
      `update warren.tasks set lease = gen_random_uuid(), attempts = 2, due_at = now() + interval '1 hour'`,
    );
    stuck.reject(new Error('late'));
    await new Promise((resolve) => setTimeout(resolve, 300));
    const [task] = await tasks();
    expect(task?.last_error).to.equal(null);
    expect(task?.due).to.be.above(3_500);
  });

  it('waits longer after each failure, up to five minutes', async () => {
    await schedule('a');
    const dues: number[] = [];
    const runner = launch({
      concurrency: 1,
      perform: async () => {
        throw new Error('no');
      },
    });
    for (const attempts of [1, 2, 3, 9, 12, 2_000]) {
      await database.admin(`update warren.tasks set attempts = $1, due_at = now(), last_error = null`, [
        attempts - 1,
      ]);
      runner.wake();
      await eventually(async () => {
        const [task] = await tasks();
        expect(task).to.deep.include({ attempts, last_error: 'no' });
        dues.push(task?.due as number);
      });
    }
    for (const [i, seconds] of [1, 2, 4, 256, 300, 300].entries())
      expect(dues[i], `after failure ${i + 1}`).to.be.within(seconds * 0.7, seconds * 1.25);
  });

  it('aborts a perform that hangs, and tries again', async () => {
    await schedule('a');
    let told = false;
    let attempts = 0;
    launch({
      timeout: 200,
      perform: (_, { signal }) => {
        attempts += 1;
        if (attempts > 1) return Promise.resolve();
        signal.addEventListener('abort', () => {
          told = true;
        });
        return new Promise(() => {});
      },
    });
    await eventually(async () => expect((await tasks())[0]?.last_error).to.match(/timeout/i));
    expect(told).to.equal(true);
    await done(1);
  });

  it('handles what perform throws, also when it is not an Error or thrown before the first await', async () => {
    await schedule('a');
    let attempts = 0;
    launch({
      perform: () => {
        attempts += 1;
        if (attempts === 1) throw 'a string';
        return Promise.resolve();
      },
    });
    await eventually(async () => expect((await tasks())[0]?.last_error).to.equal('a string'));
    await done(1);
  });

  it('takes an outside that is away for a failure of that task, not for its own database being away', async () => {
    const away = Object.assign(new Error('connect ECONNREFUSED: smtp'), { code: 'ECONNREFUSED' });
    for (let i = 0; i < 10; i += 1) await schedule(`a${i}`);
    await schedule('z');
    launch({
      perform: async ({ key }) => {
        if (key !== 'z') throw away;
      },
    });
    await eventually(async () => expect(await effects()).to.deep.equal(['z']), { timeout: 1_500 });
    const [task] = await tasks();
    expect(task?.last_error).to.equal(away.message);
    expect(task?.due).to.be.below(5);
  });

  for (const [what, thrown] of [
    ['what is no text', Object.create(null)],
    ['text that no database takes', new Error('a\0b')],
  ])
    it(`puts a task off that failed with ${what}`, async () => {
      await schedule('a');
      launch({
        perform: async () => {
          throw thrown;
        },
      });
      await eventually(async () => expect((await tasks())[0]?.last_error).to.be.a('string'));
      expect((await tasks())[0]?.due).to.be.below(5);
    });

  it('does a task once that was scheduled twice, and again when it is scheduled after it was done', async () => {
    await Promise.all([schedule('a'), schedule('a'), schedule('a')]);
    await schedule('a');
    let attempts = 0;
    launch({
      perform: async () => {
        attempts += 1;
      },
      complete: async () => {},
    });
    await eventually(async () => expect(await tasks()).to.deep.equal([]));
    expect(attempts).to.equal(1);
    await schedule('a');
    await eventually(() => expect(attempts).to.equal(2));
  });

  it('may schedule its own task again in complete', async () => {
    await schedule('a');
    let times = 0;
    launch({
      complete: async (_, __, work) => {
        times += 1;
        if (times < 3) await work.schedule('charge', { key: 'a' });
      },
    });
    await eventually(() => expect(times).to.equal(3));
    await eventually(async () => expect(await tasks()).to.deep.equal([]));
  });

  it('does nothing before the time of a task', async () => {
    await schedule('later', { at: new Date(Date.now() + 1_500) });
    await schedule('now');
    const at: Record<string, number> = {};
    launch({
      perform: async ({ key }) => {
        at[key] = Date.now();
      },
    });
    await done(2);
    expect((at.later as number) - (at.now as number)).to.be.within(1_000, 4_000);
  });

  it('leaves the tasks of other kinds alone, and a rolled-back schedule leaves none', async () => {
    await writer.units.run({ correlationId: 'x', log: silent }, (work) =>
      work.schedule('other', { key: 'a' }),
    );
    await writer.units
      .run({ correlationId: 'x', log: silent }, async (work) => {
        await work.schedule('charge', { key: 'b' });
        throw new Error('no');
      })
      .catch(() => {});
    const runner = launch({});
    await schedule('c');
    await done(1);
    expect(await effects()).to.deep.equal(['c']);
    expect(await countPendingTasks(writer.database.kysely, ['charge', 'other'])).to.deep.equal([
      { kind: 'charge', pending: 0 },
      { kind: 'other', pending: 1 },
    ]);
    await runner.stop();
  });

  it('counts what waits for its next attempt as pending, and not what is not due yet', async () => {
    await schedule('later', { at: new Date(Date.now() + 60_000) });
    await schedule('a');
    launch({
      perform: async () => {
        throw new Error('the provider is away');
      },
    });
    await eventually(async () =>
      expect((await tasks()).find(({ key }) => key === 'a')).to.deep.include({
        last_error: 'the provider is away',
      }),
    );
    await database.admin("update warren.tasks set due_at = now() + interval '5 minutes' where key = 'a'");
    expect(await countPendingTasks(writer.database.kysely, ['charge'])).to.deep.equal([
      { kind: 'charge', pending: 1 },
    ]);
  });

  it('does not read what is not due yet when it looks for work', async () => {
    await database.admin(
      `insert into warren.tasks (kind, key, due_at, correlation_id)
       select 'charge', n::text, now() + interval '1 hour' + n * interval '1 second', 'c' from generate_series(1, 20000) n`,
    );
    await database.admin('vacuum analyze warren.tasks');
    const read = async () => {
      const [row] = await database.admin<{ read: string }>(
        `select idx_tup_read + (select seq_tup_read from pg_stat_user_tables where relid = 'warren.tasks'::regclass) as read
         from pg_stat_user_indexes where indexrelname = 'tasks_due'`,
      );
      return Number(row?.read);
    };
    const before = await read();
    const runner = launch({});
    await schedule('now');
    await done(1);
    await runner.stop();
    await writer.close();
    // Statistics come with the end of the session.
    await eventually(async () => expect(await read()).to.be.above(before));
    expect((await read()) - before).to.be.below(5_000);
  });

  it('is woken by a commit in its process', async () => {
    const runner = launch({});
    const woken = createUnitsOfWork<Schema, unknown>({
      service: 'alpha',
      database: writer.database,
      config: {},
      now: () => new Date(),
      publications: new Set(),
      onCommit: ({ kinds }) => kinds.has('charge') && runner.wake(),
    });
    const lags: number[] = [];
    for (let i = 0; i < 30; i += 1) {
      const since = performance.now();
      await woken.run({ correlationId: 'x', log: silent }, (work) =>
        work.schedule('charge', { key: `k${i}` }),
      );
      await eventually(async () => expect(await effects()).to.have.length(i + 1), { interval: 2 });
      lags.push(performance.now() - since);
    }
    lags.sort((a, b) => a - b);
    console.log(
      `        median ${Math.round(lags[15] as number)} ms, most ${Math.round(lags[29] as number)} ms`,
    );
    expect(lags[15]).to.be.below(100);
  });

  it('looks for work once for each wake-up, however many tasks it may do at once', async () => {
    let looks = 0;
    const counted = writer.units.database.withPlugin({
      transformQuery: ({ node }) => node,
      async transformResult({ result }) {
        looks += 1;
        return result;
      },
    });
    const runner = launch({ concurrency: 10 }, { ...writer.units, database: counted });
    await eventually(() => expect(looks).to.equal(1), { interval: 1 });
    const since = performance.now();
    for (let i = 1; i <= 20; i += 1) {
      await schedule(`t${i}`);
      runner.wake();
      await done(i);
    }
    // One besides at the start, and those that it makes of itself, each second.
    expect(looks).to.be.within(21, 22 + (performance.now() - since) / 1_000);
  });

  it('begins at once what waits for one that is free', async () => {
    for (let i = 0; i < 50; i += 1) await schedule(`t${i}`);
    let most = 0;
    let now = 0;
    const since = performance.now();
    launch({
      concurrency: 5,
      async perform() {
        most = Math.max(most, ++now);
        await new Promise((resolve) => setTimeout(resolve, 20));
        now -= 1;
      },
    });
    await done(50);
    expect(most).to.equal(5);
    // Ten rounds; of those that waited for a look of each second there would be no end before 10 s.
    expect(performance.now() - since, 'ms').to.be.below(5_000);
  });

  it('begins at once what came while it had no room', async () => {
    const gate = Promise.withResolvers<void>();
    let begun = 0;
    await schedule('a');
    const runner = launch({
      concurrency: 1,
      async perform() {
        begun += 1;
        if (begun === 1) await gate.promise;
      },
    });
    await eventually(() => expect(begun).to.equal(1));
    await schedule('b');
    runner.wake();
    await new Promise((resolve) => setTimeout(resolve, 1_200)); // it polls each second, without room for anything
    runner.wake();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const since = performance.now();
    gate.resolve();
    await done(2);
    expect(performance.now() - since, 'ms').to.be.below(500);
  });

  it('misses no wake-up that comes while it looks for work', async () => {
    const looks: PromiseWithResolvers<void>[] = [];
    const slow = writer.units.database.withPlugin({
      transformQuery: ({ node }) => node,
      async transformResult({ result }) {
        const look = Promise.withResolvers<void>();
        looks.push(look);
        if (looks.length === 1) await look.promise;
        return result;
      },
    });
    const runner = launch({ concurrency: 1 }, { ...writer.units, database: slow });
    await eventually(() => expect(looks).to.have.length(1), { interval: 1 });
    await schedule('a');
    runner.wake();
    const since = performance.now();
    looks[0]?.resolve();
    await done(1);
    expect(performance.now() - since, 'ms').to.be.below(500);
  });

  it('finishes what it has when it is stopped, and claims nothing more', async () => {
    await Promise.all(Array.from({ length: 10 }, (_, i) => schedule(`t${i}`)));
    let started = 0;
    const runner = launch({
      concurrency: 2,
      perform: async () => {
        started += 1;
        await new Promise((resolve) => setTimeout(resolve, 300));
      },
    });
    await eventually(() => expect(started).to.equal(2));
    await runner.stop();
    expect(started).to.equal(2);
    expect(await effects()).to.have.length(2);
    expect((await tasks()).map(({ attempts }) => attempts)).to.deep.equal(Array(8).fill(0));
  });

  it('lets go of what it opened when it is stopped, once the last task is done', async () => {
    await schedule('a');
    const said: string[] = [];
    const begun = Promise.withResolvers<void>();
    const runner = launch({
      perform: async () => {
        begun.resolve();
        await new Promise((resolve) => setTimeout(resolve, 100));
        said.push('acted');
      },
      close: () => void said.push('closed'),
    });
    await begun.promise;
    await runner.stop();
    expect(said).to.deep.equal(['acted', 'closed']);
    expect(await effects()).to.deep.equal(['a']);
  });

  it('logs once that the database is unavailable, and continues when it has recovered', async () => {
    const line = await openProxy(database.url);
    const behind = await openWriter(line.url);
    try {
      const { log, lines } = recordedLog();
      const runner = launch({}, behind.units, log);
      await schedule('a');
      await done(1);
      line.refuse(true);
      await eventually(() =>
        expect(lines.map(({ msg }) => msg)).to.include('cannot claim or complete tasks; retrying'),
      );
      await schedule('b');
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      line.refuse(false);
      await done(2);
      await eventually(() => expect(lines.map(({ msg }) => msg)).to.include('task worker recovered'));
      const warned = lines.filter(({ level }) => level === 'warn');
      expect(warned).to.have.length(1);
      await runner.stop();
    } finally {
      await behind.close();
      await line.close();
    }
  });
});
