import {
  eventually,
  managementOf,
  openProxy,
  type Probe,
  type Recorded,
  withBroker,
  withDatabase,
} from '@warren/testkit';
import { expect } from 'chai';
import pg from 'pg';
import { Publisher } from '../src/messaging/publisher.ts';
import { OutboxReader } from '../src/outbox/reader.ts';
import {
  connectTo,
  FILL,
  NOTE,
  openWriter,
  prepare,
  silent,
  startRelay,
  type TestRelay,
  type Writer,
} from './fixtures/relay.ts';
import { written } from './fixtures/services.ts';

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

/** The texts of each aggregate's events, in the order in which they came; repeats, by id, left out. */
function ordered(events: readonly Recorded[]): Map<string, number[]> {
  const seen = new Set<string>();
  const texts = new Map<string, number[]>();
  for (const { properties, body } of events) {
    if (seen.has(properties.messageId)) continue;
    seen.add(properties.messageId);
    texts.set(body.subject, [...(texts.get(body.subject) ?? []), Number(body.data.text)]);
  }
  return texts;
}

describe('the relay', function () {
  this.timeout(60_000);
  const database = withDatabase();
  const broker = withBroker({ services: ['alpha'] });
  const relays: TestRelay[] = [];
  let writer: Writer;
  let probe: Probe;

  before(() => prepare(database.url));
  beforeEach(async () => {
    await database.admin('truncate warren.outbox, counters');
    probe = await broker.probe('events', 'alpha.#');
    writer = await openWriter(database.url, { onCommit: () => relays[0]?.relay.wake() });
  });
  afterEach(async () => {
    await Promise.all(relays.splice(0).map((relay) => relay.stop()));
    await writer.close();
    await probe.close();
  });

  const launch = (options: { databaseUrl?: string; brokerUrl?: string } = {}) => {
    const relay = startRelay({ databaseUrl: database.url, brokerUrl: broker.url('alpha'), ...options });
    relays.push(relay);
    return relay;
  };
  /** One that publishes. */
  const launchActive = async (options?: Parameters<typeof launch>[0]) => {
    const relay = launch(options);
    await eventually(() => relay.relay.active);
    return relay;
  };
  const left = async () =>
    (await database.admin<{ n: number }>('select count(*)::int n from warren.outbox'))[0]?.n as number;
  const empty = () => eventually(async () => expect(await left()).to.equal(0), { timeout: 30_000 });
  /** Long enough for the relay to have seen that nothing below the last number can come any more. */
  const settled = () => new Promise((resolve) => setTimeout(resolve, 2_000));
  const published = () => new Set(probe.events.map(({ properties }) => properties.messageId)).size;
  const inOrder = (each: Record<string, number>) => {
    const came = ordered(probe.events);
    expect([...came.keys()].sort()).to.deep.equal(Object.keys(each).sort());
    for (const [aggregate, count] of Object.entries(each))
      expect(came.get(aggregate), aggregate).to.deep.equal(range(count));
  };
  const management = () => managementOf({ url: broker.adminUrl, managementUrl: broker.managementUrl });
  /** What the management UI's "close connection" does, to all connections of alpha's user. */
  const closeConnections = async () => {
    const user = decodeURIComponent(new URL(broker.url('alpha')).username);
    const open = await management().request<{ name: string; user: string }[]>('GET', 'connections');
    const ours = (open ?? []).filter((connection) => connection.user === user);
    for (const { name } of ours)
      await management().request('DELETE', `connections/${encodeURIComponent(name)}`);
    return ours.length;
  };

  describe('publishes the events of an aggregate in the order of their commits', () => {
    it('under many writers of few aggregates: none missing, none twice', async () => {
      await launchActive();
      const aggregates = ['a', 'b', 'c'];
      const commits: Record<string, number> = { a: 0, b: 0, c: 0 };
      let seed = 7;
      const chance = () => {
        seed = (seed * 48_271) % 0x7fffffff;
        return seed / 0x7fffffff;
      };
      await Promise.all(
        range(20).map(async () => {
          for (let i = 0; i < 40; i += 1) {
            const aggregate = aggregates[Math.floor(chance() * 3)] as string;
            // Some hold their drawn id back for a while.
            const hold =
              chance() < 0.1 ? () => new Promise((resolve) => setTimeout(resolve, chance() * 20)) : undefined;
            const n = await writer.next(aggregate, { hold });
            commits[aggregate] = Math.max(n, commits[aggregate] as number);
          }
        }),
      );

      await probe.waitFor({ count: 800 }, { timeout: 30_000 });
      await empty();
      inOrder(commits);
      expect(probe.events, 'with repeats').to.have.length(800);
    });

    it('if one transaction draws its id first and commits last', async () => {
      await launchActive();
      let commit = () => {};
      const drawn = Promise.withResolvers<void>();
      const late = writer.next('slow', {
        hold: () =>
          new Promise<void>((resolve) => {
            commit = resolve;
            drawn.resolve();
          }),
      });
      await drawn.promise;
      const after = range(2).map(() => writer.next('slow'));
      // Long enough for whatever the relay remembers of the ids that it has seen.
      const until = performance.now() + 3_000;
      let quick = 0;
      while (performance.now() < until) quick = await writer.next('quick');
      await probe.waitFor(({ body }) => body.subject === 'quick', { count: quick });
      expect(ordered(probe.events).get('slow')).to.equal(undefined);
      commit();
      await Promise.all([late, ...after]);

      await probe.waitFor(({ body }) => body.subject === 'slow', { count: 3 });
      await empty();
      inOrder({ slow: 3, quick });
    });

    it('while its connections to the broker are closed again and again', async () => {
      const relay = await launchActive();
      const commits: Record<string, number> = {};
      let writing = true;
      const writers = range(6).map(async (i) => {
        const aggregate = `a${i % 3}`;
        while (writing) {
          const n = await writer.next(aggregate);
          commits[aggregate] = Math.max(n, commits[aggregate] ?? 0);
        }
      });
      let closed = 0;
      while (closed < 2) {
        // The management API learns of a connection after some seconds.
        closed += await eventually(async () => (await closeConnections()) || false, { timeout: 20_000 });
      }
      writing = false;
      await Promise.all(writers);

      await empty();
      const total = Object.values(commits).reduce((sum, n) => sum + n, 0);
      await eventually(() => expect(published()).to.equal(total));
      inOrder(commits);
      expect(relay.lines.filter(({ level }) => level === 'error')).to.deep.equal([]);
      console.log(
        `        ${total} events, ${probe.events.length - total} of them twice, over ${closed} closed connections`,
      );
    });

    it('while its connections to the database are terminated again and again, and loses none', async () => {
      launch();
      launch();
      await database.admin(FILL, [30_000, 7]);
      let terminated = 0;
      while ((await left()) > 0) {
        const rows = await database.admin<{ ended: boolean }>(
          `select pg_terminate_backend(pid) as ended from pg_stat_activity
           where datname = current_database() and application_name = 'alpha relay'
             and pid in (select pid from pg_locks where locktype = 'advisory' and granted)`,
        );
        terminated += rows.length;
        const before = published();
        await eventually(() => published() > before + 3_000 || published() === 30_000);
      }

      await eventually(() => expect(published()).to.equal(30_000));
      inOrder(Object.fromEntries(range(7).map((n) => [`a${n - 1}`, Math.ceil((30_001 - n) / 7)])));
      expect(terminated).to.be.at.least(3);
      const twice = probe.events.length - 30_000;
      console.log(`        30,000 events, ${twice} of them twice, over ${terminated} terminated connections`);
    });
  });

  it('leaves the relaying to one process: a second one stands by', async () => {
    const first = await launchActive();
    const second = launch();
    await eventually(async () => {
      const [row] = await database.admin<{ n: number }>(
        `select count(*)::int n from pg_stat_activity where datname = current_database() and application_name = 'alpha relay'`,
      );
      expect(row?.n).to.equal(2);
    });
    await database.admin(FILL, [5_000, 10]);
    await empty();
    await eventually(() => expect(published()).to.equal(5_000));
    await probe.waitFor(() => true, { count: 5_000 });
    expect(probe.events).to.have.length(5_000);
    expect([first.relay.active, second.relay.active]).to.deep.equal([true, false]);

    const since = performance.now();
    await first.stop(1_000);
    await eventually(() => second.relay.active, { interval: 5 });
    console.log(
      `        after an orderly stop the other one is active in ${Math.round(performance.now() - since)} ms`,
    );
    await database.admin(FILL, [10, 10]);
    await empty();
  });

  it('stops publishing at once when it loses its database connection', async () => {
    const line = await openProxy(database.url);
    try {
      const first = await launchActive({ databaseUrl: line.url });
      await database.admin(FILL, [100, 10]);
      await empty();
      line.cut();
      const since = performance.now();
      await eventually(() => !first.relay.active, { interval: 1 });
      expect(performance.now() - since).to.be.below(2_000);
    } finally {
      await relays.splice(0)[0]?.stop();
      await line.close();
    }
  });

  it('cuts its connection to the broker in the same moment as it loses that to the database', async () => {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const reader = await OutboxReader.open(client);
    const publisher = await Publisher.open(() => connectTo(broker.url('alpha')));
    try {
      reader.publisher = publisher;
      reader.end(new Error('the connection is lost'));
      expect(publisher.closed).to.include({ reason: 'lost' });
    } finally {
      await publisher.close();
    }
  });

  it('takes over within 10 s when the host of the active process has vanished from the network', async () => {
    const line = await openProxy(database.url);
    try {
      const first = await launchActive({ databaseUrl: line.url });
      const second = launch();
      line.stall();
      const since = performance.now();
      await database.admin(FILL, [10, 10]);
      // The server still sees a live peer, the line itself, but the vanished one's own clock tells it to let go.
      await eventually(() => !first.relay.active, { timeout: 20_000 });
      expect(performance.now() - since, 'ms until it knows').to.be.below(12_000);
      line.cut();
      await eventually(() => second.relay.active, { timeout: 4_000 });
      await empty();
    } finally {
      await Promise.all(relays.splice(0).map((relay) => relay.stop()));
      await line.close();
    }
  });

  describe('is woken', () => {
    const lag = async (commit: () => Promise<string>) => {
      const id = await commit();
      const committed = Date.now();
      const [event] = await probe.waitFor(({ properties }) => properties.messageId === id);
      return (event?.at ?? Number.NaN) - committed;
    };
    const idle = () =>
      writer.units.run({ correlationId: 'x', log: silent }, (work) =>
        work.emit(written, { noteId: NOTE, text: '1' }, { aggregate: 'a' }),
      );
    const median = (values: number[]) =>
      values.sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

    it('by a commit in its process: the event is published within milliseconds', async () => {
      await launchActive();
      await lag(idle);
      const lags: number[] = [];
      for (const _ of range(30)) lags.push(await lag(idle));
      const p50 = median(lags);
      console.log(`        after a commit in the process: median ${p50} ms, most ${Math.max(...lags)} ms`);
      expect(p50).to.be.below(200);
    });

    it('by polling, when another process commits: soon while busy, within a second when idle', async () => {
      await launchActive();
      const elsewhere = await openWriter(database.url);
      const commit = () =>
        elsewhere.units.run({ correlationId: 'x', log: silent }, (work) =>
          work.emit(written, { noteId: NOTE, text: '1' }, { aggregate: 'a' }),
        );
      try {
        await lag(commit);
        const busy: number[] = [];
        for (const _ of range(30)) busy.push(await lag(commit));
        const quiet: number[] = [];
        await new Promise((resolve) => setTimeout(resolve, 4_000));
        quiet.push(await lag(commit));
        console.log(
          `        after a commit elsewhere: busy at most ${Math.max(...busy)} ms, idle at most ${Math.max(...quiet)} ms`,
        );
        expect(median(busy), 'busy').to.be.below(1_000);
        expect(Math.max(...quiet), 'idle').to.be.below(5_000);
      } finally {
        await elsewhere.close();
      }
    });
  });

  describe('when the broker refuses an event', () => {
    const insert = (aggregate: string, text: number, routingKey = 'alpha.written.v1') =>
      database.admin(
        `insert into warren.outbox (event_id, type, routing_key, aggregate, body, correlation_id)
         select id, 'alpha.written', $3, $1, json_build_object('subject', $1::text, 'data', json_build_object('text', $2::text)), 'test'
         from (select gen_random_uuid() as id) ids`,
        [aggregate, String(text), routingKey],
      );
    const parked = () =>
      database.admin<{ aggregate: string; parked_reason: string }>(
        'select aggregate, parked_reason from warren.outbox where parked_at is not null order by id',
      );

    it('parks it with the reason; its aggregate waits, the others are published, and un-parking publishes it in order', async () => {
      await insert('bad', 1, 'beta.done.v1');
      await insert('bad', 2);
      await insert('good', 1);
      await insert('good', 2);
      const relay = await launchActive();

      await eventually(async () => expect(await left()).to.equal(2));
      expect(ordered(probe.events)).to.deep.equal(new Map([['good', [1, 2]]]));
      const [row] = await parked();
      expect(row?.aggregate).to.equal('bad');
      expect(row?.parked_reason).to.match(/ACCESS_REFUSED.*beta\.done\.v1/);
      const told = relay.lines.filter(({ level }) => level === 'error');
      expect(told.map(({ aggregate }) => aggregate)).to.deep.equal(['bad']);

      // It still flows, and it still waits.
      await insert('good', 3);
      await insert('bad', 3);
      await eventually(async () => expect(ordered(probe.events).get('good')).to.deep.equal([1, 2, 3]));
      expect(await left()).to.equal(3);
      await settled();

      await database.admin(`
        insert into warren.outbox (event_id, type, routing_key, aggregate, body, correlation_id)
          select gen_random_uuid(), type, 'alpha.written.v1', aggregate, replace(body, '"1"', '"4"'), 'test'
          from warren.outbox where parked_at is not null;
        update warren.outbox set parked_at = null, routing_key = 'alpha.written.v1' where aggregate = 'bad'`);
      await eventually(() => expect(ordered(probe.events).get('bad')).to.deep.equal([1, 2, 3, 4]), {
        timeout: 5_000,
      });
      expect(await left()).to.equal(0);
    });

    it('finds it among thousands, and publishes none of an aggregate that waits', async () => {
      await database.admin(FILL, [2_000, 20]);
      await database.admin(
        `update warren.outbox set routing_key = 'beta.done.v1' where id = (select id from warren.outbox order by id offset 900 limit 1)`,
      );
      await database.admin(FILL, [2_000, 20]);
      await launchActive();
      await eventually(async () => expect(await parked()).to.have.length(1), { timeout: 20_000 });
      const aggregate = (await parked())[0]?.aggregate as string;
      await eventually(async () => expect(await left()).to.equal(100 - 45 + 100), { timeout: 20_000 });
      expect(ordered(probe.events).get(aggregate)).to.deep.equal(range(45));
    });

    it('parks an event larger than the broker accepts, even if it is the only one', async function () {
      if (Number.parseInt(broker.version, 10) < 4) {
        console.log(`        passed over: RabbitMQ ${broker.version} takes messages of up to 128 MiB`);
        this.skip();
      }
      await insert('large', 1);
      await database.admin(`update warren.outbox set body = repeat('x', 17 * 1024 * 1024)`);
      await launchActive();
      await eventually(async () =>
        expect((await parked())[0]?.parked_reason).to.match(/PRECONDITION_FAILED.*size/),
      );
      await insert('small', 1);
      await eventually(() => expect(ordered(probe.events)).to.deep.equal(new Map([['small', [1]]])));
    });

    it('parks an event that cannot be encoded as a frame, and goes on', async () => {
      await database.admin(FILL, [3, 3]);
      await database.admin(
        `update warren.outbox set correlation_id = repeat('x', 300) where aggregate = 'a1'`,
      );
      await launchActive();
      await eventually(async () => expect(await parked()).to.have.length(1));
      await eventually(() => expect(published()).to.equal(2));
      await insert('after', 1);
      await eventually(() => expect(published()).to.equal(3));
    });

    it('gets past more refused events at the head than it reads at once', async () => {
      await database.admin(FILL, [1_500, 1_500]);
      await database.admin(`update warren.outbox set routing_key = 'beta.done.v1'`);
      await insert('good', 1);
      await launchActive();
      await eventually(() => expect(ordered(probe.events).get('good')).to.deep.equal([1]), {
        timeout: 20_000,
      });
      await eventually(async () => expect(await parked()).to.have.length(1_500), { timeout: 30_000 });
      await insert('good', 2);
      await insert('a1234', 2);
      await eventually(() => expect(ordered(probe.events).get('good')).to.deep.equal([1, 2]));
      expect(published(), 'the one behind a parked event waits').to.equal(2);
    });

    it('parks nothing when the broker refuses every event, and resumes when that is fixed', async () => {
      const user = decodeURIComponent(new URL(broker.url('alpha')).username);
      const path = `permissions/${encodeURIComponent(broker.vhost)}/${encodeURIComponent(user)}`;
      const before = await management().request<{ configure: string; write: string; read: string }>(
        'GET',
        path,
      );
      await management().request('PUT', path, { configure: '^$', write: '^$', read: '^$' });
      try {
        await database.admin(FILL, [50, 50]);
        const relay = await launchActive();
        await eventually(() =>
          expect(relay.lines.map(({ msg }) => msg)).to.include(
            'the broker refuses every event; events stay in the outbox',
          ),
        );
        expect(await parked()).to.deep.equal([]);
        expect(published()).to.equal(0);
      } finally {
        const { configure, write, read } = before as { configure: string; write: string; read: string };
        await management().request('PUT', path, { configure, write, read });
      }
      await empty();
      expect(published()).to.equal(50);
    });

    it('parks nothing when the exchange is missing, and resumes when it is declared again', async () => {
      const path = `exchanges/${encodeURIComponent(broker.vhost)}/events`;
      await management().request('DELETE', path);
      try {
        await database.admin(FILL, [50, 50]);
        const relay = await launchActive();
        await eventually(() =>
          expect(relay.lines.map(({ msg }) => msg)).to.include(
            'the broker refuses every event; events stay in the outbox',
          ),
        );
        expect(await parked()).to.deep.equal([]);
      } finally {
        await management().request('PUT', path, {
          type: 'topic',
          durable: true,
          arguments: { 'alternate-exchange': 'unrouted' },
        });
      }
      probe = await broker.probe('events', 'alpha.#');
      await empty();
      expect(await parked()).to.deep.equal([]);
    });
  });

  it('keeps nacked events, retries them slowly, and stays responsive', async () => {
    // A queue that is full and says so: the broker answers basic.nack to what it cannot put there.
    const queue = `full-${process.pid}`;
    const at = `${encodeURIComponent(broker.vhost)}`;
    await management().request('PUT', `queues/${at}/${queue}`, {
      durable: true,
      arguments: { 'x-max-length': 1, 'x-overflow': 'reject-publish' },
    });
    await management().request('POST', `bindings/${at}/e/events/q/${queue}`, {
      routing_key: 'alpha.full.v1',
      arguments: {},
    });
    try {
      await database.admin(FILL, [400, 40]);
      await database.admin(`update warren.outbox set routing_key = 'alpha.full.v1' where aggregate = 'a7'`);
      let longest = 0;
      let last = performance.now();
      const pulse = setInterval(() => {
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
      }, 5);
      await launchActive();

      await eventually(async () => expect(await left()).to.equal(9));
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      clearInterval(pulse);
      expect(await left(), 'what was nacked').to.equal(9);
      expect(longest, 'ms in which nothing else could run').to.be.below(1_000);
      const attempts = probe.events.length - 391;
      console.log(
        `        9 nacked events were tried ${Math.round(attempts / 9)} times in 3 s; the process stood still for at most ${Math.round(longest)} ms`,
      );
      expect(attempts / 9, 'attempts in 3 s').to.be.below(12);
    } finally {
      await broker.deleteQueue(queue);
    }
    await empty();
    expect(published()).to.equal(400);
  });

  it('holds no more of a backlog in memory than a few MiB, however large its events are', async () => {
    await database.admin(
      `insert into warren.outbox (event_id, type, routing_key, aggregate, body, correlation_id)
       select gen_random_uuid(), 'alpha.large', 'alpha.large.v1', 'a' || n, repeat('x', 1024 * 1024 - 100), 'test'
       from generate_series(1, 300) n`,
    );
    let most = 0;
    const before = process.memoryUsage().rss;
    const watch = setInterval(() => {
      most = Math.max(most, process.memoryUsage().rss - before);
    }, 5);
    await probe.close();
    try {
      await launchActive();
      await empty();
    } finally {
      clearInterval(watch);
      probe = await broker.probe('events', 'alpha.#');
    }
    console.log(`        300 events of 1 MiB: ${Math.round(most / 1024 / 1024)} MiB more than before`);
    expect(most / 1024 / 1024).to.be.below(250);
  });

  describe('ends within its time-out', () => {
    it('after publishing the events in the outbox', async () => {
      await launchActive();
      await database.admin(FILL, [3_000, 10]);
      await relays.splice(0)[0]?.stop(20_000);
      expect(await left()).to.equal(0);
    });

    it('if the broker does not answer', async () => {
      const line = await openProxy(broker.url('alpha'));
      try {
        await database.admin(FILL, [1, 1]);
        await launchActive({ brokerUrl: line.url });
        await empty();
        line.stall();
        await database.admin(FILL, [5_000, 10]);
        await database.admin("update warren.outbox set body = body || repeat(' ', 20000)");
        const relay = relays.splice(0)[0] as TestRelay;
        relay.relay.wake();
        const since = performance.now();
        await relay.stop(500);
        const took = performance.now() - since;
        console.log(`        it ended ${Math.round(took)} ms after a stop that gave it 500`);
        expect(took).to.be.below(2_000);
        expect(await left()).to.equal(5_000);
      } finally {
        await line.close();
      }
    });

    it('if the database does not answer', async () => {
      const line = await openProxy(database.url);
      try {
        await launchActive({ databaseUrl: line.url });
        line.stall();
        const since = performance.now();
        await relays.splice(0)[0]?.stop(500);
        const took = performance.now() - since;
        console.log(`        it ended ${Math.round(took)} ms after a stop that gave it 500`);
        expect(took).to.be.below(2_000);
      } finally {
        await line.close();
      }
    });
  });

  it('goes on after the outbox was emptied by hand, and its sequence reset', async () => {
    await launchActive();
    await database.admin(FILL, [2_000, 10]);
    await empty();
    await settled();
    await database.admin('truncate warren.outbox restart identity');
    await database.admin(FILL, [10, 10]);
    await eventually(async () => expect(await left()).to.equal(0), { timeout: 5_000 });
  });

  it('runs no statement with JIT, which up to PostgreSQL 17 costs 30 ms to read one row', async () => {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const reader = await OutboxReader.open(client);
    const { rows } = await client.query('show jit');
    reader.end(new Error('the end of the test'));
    expect(rows).to.deep.equal([{ jit: 'off' }]);
  });

  it('does not read deleted rows again and again while an old snapshot keeps them', async () => {
    const reader = new pg.Client({ connectionString: database.adminUrl });
    await reader.connect();
    const read = async () => {
      const [row] = await database.admin<{ read: number; dead: number }>(
        `select idx_tup_read::int as read, n_dead_tup::int as dead
         from pg_stat_user_indexes join pg_stat_user_tables using (relid) where indexrelname = 'outbox_pkey'`,
      );
      return row as { read: number; dead: number };
    };
    try {
      await reader.query('begin isolation level repeatable read; select 1 from pg_class');
      // It could remove nothing, but sets the count of dead rows to what it has seen when it began.
      await database.admin('alter table warren.outbox set (autovacuum_enabled = off)');
      const before = await read();
      await launchActive();
      await database.admin(FILL, [40_000, 100]);
      await empty();
      await relays.splice(0)[0]?.stop();
      const after = await eventually(async () => {
        const stats = await read();
        return stats.dead >= 40_000 && stats;
      });
      const each = (after.read - before.read) / 40_000;
      console.log(
        `        index entries read for an event: ${each.toFixed(1)}, with ${after.dead} dead ones`,
      );
      // Each is read once to be published, again while it is in flight, and once to be deleted.
      expect(each).to.be.below(20);
    } finally {
      await reader.end();
      await database.admin('alter table warren.outbox reset (autovacuum_enabled)');
    }
  });
});
