// What shares a transaction: events of one queue, tasks of one kind, requests to one route. Whatever becomes of one of them, its
// neighbours are done, once.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildEvent, type CloudEvent } from '@warren/events';
import { eventually, freePorts, startProcess, withBroker, withDatabase } from '@warren/testkit';
import type { Channel } from 'amqplib/callback_api';
import { expect } from 'chai';
import fc from 'fast-check';
import { sql } from 'kysely';
import { inParts } from '../src/batches.ts';
import { BatchError, type PieceOfWork, type WorkContext } from '../src/context.ts';
import { sendOn } from '../src/database/dialect.ts';
import { newId } from '../src/id.ts';
import { created, defineService, type Handler, Joi, post, problem } from '../src/index.ts';
import { Acks } from '../src/messaging/rascal/acks.ts';
import type { RascalMessage, RascalSession } from '../src/messaging/rascal/rascal.ts';
import type { ServiceDescription } from '../src/service/definition.ts';
import { type RunningService, start } from '../src/service/start.ts';
import { WorkerRunner } from '../src/tasks/runner.ts';
import { disconnect } from './fixtures/management.ts';
import { NOTE, openWriter, prepare, type Schema, silent, type Writer } from './fixtures/relay.ts';
import {
  alpha,
  hear,
  listener,
  type Schema as NoteSchema,
  type Written,
  written,
} from './fixtures/services.ts';

const LONG = { timeout: 60_000 };
const QUEUE = 'beta.alpha.written';
const origin = { correlationId: 'test', log: silent };

const eventOf = (text: string, subject?: string) => {
  const data = { noteId: newId(), text };
  return buildEvent(written, {
    id: newId(),
    source: '/alpha',
    time: new Date(),
    data,
    subject: subject ?? data.noteId,
  });
};

describe('pieces of work in one transaction', () => {
  const database = withDatabase();
  let writer: Writer;

  before(async () => {
    await prepare(database.url);
    writer = await openWriter(database.url);
  });
  after(() => writer?.close());
  beforeEach(() => database.admin('truncate counters, effects, warren.outbox, warren.tasks'));

  const piece = (key: string, run: (work: WorkContext<Schema>) => Promise<void>): PieceOfWork<Schema> => ({
    key,
    origin,
    run,
  });
  const effect = (id: string) => async (work: WorkContext<Schema>) => {
    await work.transaction.insertInto('effects').values({ id }).execute();
  };
  const failureOf = (pieces: PieceOfWork<Schema>[], signal?: AbortSignal): Promise<BatchError> =>
    writer.units.batch(pieces, signal === undefined ? {} : { signal }).then(
      () => expect.fail('it was committed'),
      (error) => error,
    );
  const effects = async () =>
    (await database.admin<{ id: string }>('select id from effects order by id')).map(({ id }) => id);

  it('run one after the other with the same key, and concurrently with different keys', async () => {
    const story: string[] = [];
    const told =
      (name: string) =>
      async ({ transaction }: WorkContext<Schema>) => {
        story.push(`${name} begins`);
        await sql`select 1`.execute(transaction);
        await sql`select 2`.execute(transaction);
        story.push(`${name} ends`);
      };
    await writer.units.batch([piece('b', told('b1')), piece('a', told('a1')), piece('b', told('b2'))]);
    expect(story.slice(0, 2), 'in the order of the keys').to.deep.equal(['a1 begins', 'b1 begins']);
    expect(story.indexOf('b2 begins')).to.be.above(story.indexOf('b1 ends'));
  });

  it('add up to their number when each adds one to the same row', async () => {
    await database.admin(`insert into counters values ('a', 0)`);
    const add = async ({ transaction }: WorkContext<Schema>) => {
      const row = await transaction
        .selectFrom('counters')
        .selectAll()
        .where('id', '=', 'a')
        .forUpdate()
        .executeTakeFirstOrThrow();
      await transaction
        .updateTable('counters')
        .set({ n: row.n + 1 })
        .where('id', '=', 'a')
        .execute();
    };
    await writer.units.batch(Array.from({ length: 20 }, () => piece('a', add)));
    expect(await database.admin('select n from counters')).to.deep.equal([{ n: 20 }]);
  });

  it('write their events in one transaction, those of one aggregate in the order they were emitted', async () => {
    const emit = (aggregate: string, text: string) => async (work: WorkContext<Schema>) => {
      await work.emit(written, { noteId: NOTE, text }, { aggregate });
    };
    await writer.units.batch([
      piece('a', emit('a', '1')),
      piece('b', emit('b', '1')),
      piece('a', emit('a', '2')),
      piece('a', emit('a', '3')),
    ]);
    const rows = await database.admin<{ body: string; xmin: string }>(
      `select body, xmin::text from warren.outbox where aggregate = 'a' order by id`,
    );
    expect(rows.map(({ body }) => JSON.parse(body).data.text)).to.deep.equal(['1', '2', '3']);
    expect(new Set(rows.map(({ xmin }) => xmin)).size).to.equal(1);
  });

  describe('of which some may have been done before', () => {
    const choose = async (run: (statement: { text: string }) => Promise<unknown>) => {
      await run({ text: 'select 1' });
      return pieces();
    };
    let pieces: () => PieceOfWork<Schema>[] = () => [];
    let runs: string[] = [];
    const noting = (id: string) =>
      piece(id, async (work) => {
        runs.push(id);
        await effect(id)(work);
      });
    beforeEach(() => {
      runs = [];
    });

    it('run in one write with the choice when it chooses all of them', async () => {
      const all = ['a', 'b'].map(noting);
      pieces = () => all;
      let hasAnswered = false;
      const first = async (run: (statement: { text: string }) => Promise<unknown>) => {
        const chosen = await choose(run);
        hasAnswered = true;
        return chosen;
      };
      const early = piece('c', async () => {
        expect(hasAnswered, 'before the answer').to.equal(false);
      });
      all.push(early);
      await writer.units.batch(all, { first, optimistic: true });
      expect(runs).to.deep.equal(['a', 'b']);
      expect(await effects()).to.deep.equal(['a', 'b']);
    });

    it('are rolled back and run again without those that were not chosen', async () => {
      const [a, b] = ['a', 'b'].map(noting) as [PieceOfWork<Schema>, PieceOfWork<Schema>];
      pieces = () => [b];
      await writer.units.batch([a, b], { first: choose, optimistic: true });
      expect(runs).to.deep.equal(['a', 'b', 'b']);
      expect(await effects()).to.deep.equal(['b']);
    });

    it('name no culprit that fails only because it was done before', async () => {
      await database.admin(`insert into effects values ('a')`);
      const [a, b] = ['a', 'b'].map(noting) as [PieceOfWork<Schema>, PieceOfWork<Schema>];
      const fails = piece('c', () => Promise.reject(new Error('it was done before')));
      pieces = () => [b];
      await writer.units.batch([a, b, fails], { first: choose, optimistic: true });
      expect(await effects()).to.deep.equal(['a', 'b']);
    });

    it('name a culprit that was chosen, in the second transaction, too', async () => {
      const a = noting('a');
      const fails = piece('b', () => Promise.reject(new Error('no')));
      pieces = () => [fails];
      const error: BatchError = await writer.units
        .batch([a, fails], { first: choose, optimistic: true })
        .then(
          () => expect.fail('it was committed'),
          (thrown) => thrown,
        );
      expect([...error.culprits]).to.deep.equal([fails]);
      expect(await effects()).to.deep.equal([]);
    });

    it('do not run again when the choice itself fails', async () => {
      const first = async (run: (statement: { text: string }) => Promise<unknown>) => {
        await run({ text: 'select 1 / 0' });
        return [];
      };
      const error: BatchError = await writer.units.batch([noting('a')], { first, optimistic: true }).then(
        () => expect.fail('it was committed'),
        (thrown) => thrown,
      );
      expect(error.cause).to.have.property('code', '22012');
      expect([...error.culprits]).to.deep.equal([]);
      expect(runs).to.deep.equal(['a']);
    });
  });

  for (const place of [0, 1, 2, 3, 4])
    for (const [what, fail] of [
      ['by itself', async () => Promise.reject(new Error('no'))],
      ['in PostgreSQL', ({ transaction }: WorkContext<Schema>) => sql`select 1 / 0`.execute(transaction)],
      [
        'when it emits',
        ({ emit }: WorkContext<Schema>) => emit(written, { noteId: 'none', text: '' }, { aggregate: 'x' }),
      ],
    ] as const)
      it(`are rolled back, and the ${place + 1}. of five is named, when it fails ${what}`, async () => {
        const pieces = Array.from({ length: 5 }, (_, i) =>
          piece(`key ${i}`, async (work) => {
            await effect(`${i}`)(work);
            if (i === place) await fail(work);
            await effect(`${i} again`)(work);
          }),
        );
        const { culprits } = await failureOf(pieces);
        expect([...culprits]).to.deep.equal([pieces[place]]);
        expect(await effects()).to.deep.equal([]);
      });

  it('are rolled back when an error that a handler ignores has ended their transaction', async () => {
    const pieces = [
      piece('a', effect('a')),
      piece('b', async ({ transaction }) => {
        await sql`select 1 / 0`.execute(transaction).catch(() => {});
      }),
    ];
    const error = await failureOf(pieces);
    expect((error.cause as Error).message).to.match(/nothing was committed|was skipped/);
    expect(await effects()).to.deep.equal([]);
  });

  it('are rolled back when time is up, and those that have not ended are named', async () => {
    const pieces = [piece('a', effect('a')), piece('b', () => new Promise(() => {}))];
    const error = await failureOf(pieces, AbortSignal.timeout(200));
    expect((error.cause as Error).name).to.equal('TimeoutError');
    expect([...error.culprits]).to.deep.equal([pieces[1]]);
    expect(await effects()).to.deep.equal([]);
  });

  it('name no culprit when one lost a race, or when their events cannot be written', async () => {
    const lost = await failureOf([
      piece('a', effect('a')),
      piece('b', async ({ transaction }) => {
        await sql`do $$ begin raise exception 'lost' using errcode = '40P01'; end $$`.execute(transaction);
      }),
    ]);
    expect((lost.cause as { code?: string }).code).to.equal('40P01');
    expect(lost.culprits.size).to.equal(0);
    await database.admin(`alter table warren.outbox add constraint never check (aggregate <> 'never')`);
    try {
      const { culprits } = await failureOf([
        piece('a', effect('a')),
        piece(
          'b',
          async ({ emit }) => void (await emit(written, { noteId: NOTE, text: 'x' }, { aggregate: 'never' })),
        ),
      ]);
      expect(culprits.size).to.equal(0);
    } finally {
      await database.admin('alter table warren.outbox drop constraint never');
    }
  });

  it('unschedule tasks that they have scheduled, and earlier ones', async () => {
    const tasks = async () =>
      (await database.admin<{ key: string }>('select key from warren.tasks order by key')).map(
        ({ key }) => key,
      );
    await writer.units.run(origin, async ({ schedule, discard, unschedule }) => {
      await schedule('charge', { key: 'discarded' });
      discard('charge', 'discarded');
      await schedule('charge', { key: 'taken back' });
      expect(await unschedule('charge', 'taken back')).to.equal(true);
      expect(await unschedule('charge', 'taken back'), 'a second time').to.equal(false);
      await schedule('charge', { key: 'kept' });
    });
    expect(await tasks()).to.deep.equal(['kept']);
    await writer.units.run(origin, async ({ schedule, discard, unschedule }) => {
      discard('charge', 'kept');
      expect(await unschedule('charge', 'kept'), 'discarded before').to.equal(false);
      await schedule('charge', { key: 'kept', data: { anew: true } });
    });
    expect(await database.admin('select data from warren.tasks')).to.deep.equal([{ data: { anew: true } }]);
  });

  it('name a task that PostgreSQL cannot store when it is scheduled', async () => {
    for (const task of [
      { key: 'a\0' },
      { key: 'a', data: { text: 'a\0' } },
      { key: 'a', data: { text: '\ud800' } },
      { key: 'a', at: new Date(Number.NaN) },
    ]) {
      const failing = piece('a', ({ schedule }) => schedule('charge', task));
      const { culprits } = await failureOf([failing, piece('b', effect('b'))]);
      expect([...culprits]).to.deep.equal([failing]);
    }
    await writer.units.run(origin, ({ schedule }) =>
      schedule('charge', { key: 'a', data: { text: '\\u0000' } }),
    );
  });

  it('succeed when a migration has added a column since their statements were prepared', async () => {
    const read = () =>
      writer.units.run(origin, ({ transaction }) => transaction.selectFrom('counters').selectAll().execute());
    await read();
    await database.admin('alter table counters add column later int');
    try {
      await read();
      await writer.database.kysely.selectFrom('counters').selectAll().execute();
      await database.admin('alter table counters add column later2 int');
      await writer.database.kysely.selectFrom('counters').selectAll().execute();
    } finally {
      await database.admin('alter table counters drop column later, drop column later2');
    }
  });

  it('postpones the one task that cannot be completed, and completes the others', async () => {
    const tasks = Array.from({ length: 20 }, (_, i) => `t${i}`);
    await writer.units.run(origin, async ({ schedule }) => {
      for (const key of tasks) await schedule('charge', { key });
    });
    const runner = new WorkerRunner(
      {
        kind: 'charge',
        complete: async ({ key }, _, work) => {
          await effect(key)(work);
          if (key === 't3') throw new Error('not this one');
        },
      },
      { units: writer.units, send: sendOn(writer.database.kysely), config: {}, log: silent },
    );
    runner.start();
    try {
      await eventually(async () => expect(await effects()).to.have.length(19));
      await eventually(async () =>
        expect(await database.admin('select key, last_error from warren.tasks')).to.deep.equal([
          { key: 't3', last_error: 'not this one' },
        ]),
      );
    } finally {
      await runner.stop();
    }
  });
});

describe('a batch that is rolled back', () => {
  it('is run again without its culprit, which then runs alone', async () => {
    const runs: string[][] = [];
    const done = new Set<string>();
    await inParts(['a', 'culprit', 'b'], {
      together: async (pieces) => {
        runs.push([...pieces]);
        if (pieces.includes('culprit')) throw new BatchError(new Error('not this one'), new Set(['culprit']));
        for (const piece of pieces) done.add(piece);
      },
      alone: async (piece) => {
        runs.push([piece]);
        done.add(piece);
      },
      concurrency: 1,
      goesOn: async () => true,
      isLeft: (piece) => !done.has(piece),
    });
    expect(runs).to.deep.equal([['a', 'culprit', 'b'], ['a', 'b'], ['culprit']]);
  });
});

describe('acknowledging by range', () => {
  it('acknowledges nothing that is not done, and all that is, once (property)', () => {
    fc.assert(
      fc.property(fc.array(fc.array(fc.nat(19), { maxLength: 5 }), { maxLength: 12 }), (batches) => {
        const acked = new Set<number>();
        const done = new Set<number>();
        const channel = {
          ack({ fields: { deliveryTag } }: RascalMessage, allUpTo: boolean) {
            for (let tag = allUpTo ? 1 : deliveryTag; tag <= deliveryTag; tag += 1) {
              expect(done.has(tag), `${tag} is not done`).to.equal(true);
              acked.add(tag);
            }
          },
        } as unknown as Channel;
        const acks = new Acks({} as RascalSession, channel);
        const messages = Array.from(
          { length: 20 },
          (_, i) => ({ fields: { deliveryTag: i + 1 } }) as RascalMessage,
        );
        for (const message of messages) acks.add(message);
        for (const batch of batches) {
          const fresh = [...new Set(batch)].filter((i) => !done.has(i + 1));
          for (const i of fresh) done.add(i + 1);
          acks.ack(fresh.map((i) => messages[i] as RascalMessage));
          expect([...acked].sort()).to.deep.equal([...done].sort());
        }
      }),
    );
  });

  it('does not go past a delivery that Rascal has not passed on', () => {
    const sent: [number, boolean][] = [];
    const channel = {
      ack: ({ fields }: RascalMessage, allUpTo: boolean) => sent.push([fields.deliveryTag, allUpTo]),
    } as unknown as Channel;
    const acks = new Acks({} as RascalSession, channel);
    const [first, third] = [1, 3].map((deliveryTag) => ({ fields: { deliveryTag } }) as RascalMessage) as [
      RascalMessage,
      RascalMessage,
    ];
    acks.add(first);
    acks.add(third);
    acks.ack([first, third]);
    expect(sent).to.deep.equal([
      [1, true],
      [3, false],
    ]);
  });
});

describe('events in one batch', function () {
  this.timeout(180_000);
  const broker = withBroker({ services: ['alpha', 'beta'] });
  const database = withDatabase();
  const running: RunningService[] = [];
  let calls: string[] = [];

  const launch = async (
    handler: Handler<Written, NoteSchema>,
    env: Record<string, string> = {},
    key?: (event: CloudEvent<Written>) => string,
  ) => {
    const called: Handler<Written, NoteSchema> = async (event, work) => {
      calls.push(event.data.text);
      await handler(event, work);
    };
    const service = await start(listener('beta', called, key), {
      PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: process.env.LOG_LEVEL ?? 'silent',
      AMQP_URL: broker.url('beta'),
      DATABASE_URL: database.url,
      RETRY_DELAYS: '10m',
      ...env,
    });
    running.push(service);
    await eventually(() => expect(service.ready()).to.equal(true), LONG);
    return service;
  };
  const stopAll = () => Promise.all(running.splice(0).map((service) => service.stop()));
  /** In the queue before anybody consumes, so that they come together. */
  const enqueue = async (events: ReturnType<typeof eventOf>[]) => {
    for (const event of events) await broker.publish('events', written.routingKey, event);
    await eventually(async () => expect(await broker.queueDepth(QUEUE)).to.equal(events.length), LONG);
  };
  const heard = async () =>
    (await database.admin<{ event_id: string }>('select event_id from heard'))
      .map(({ event_id: id }) => id)
      .sort();
  const outcomes = async ({ metrics }: RunningService) =>
    Object.fromEntries(
      (await metrics.eventsConsumed.get()).values.map(({ labels, value }) => [labels.outcome, value]),
    );
  const ids = (events: { id: string }[]) => events.map(({ id }) => id).sort();

  before(async () => {
    await launch(hear);
    await stopAll();
  });
  beforeEach(async () => {
    await database.admin('truncate heard, warren.inbox');
    calls = [];
  });
  afterEach(stopAll);

  for (const place of [0, 6, 12])
    it(`at place ${place}, one that fails costs its neighbours nothing, and goes to its delay queue alone`, async () => {
      const events = Array.from({ length: 13 }, (_, i) => eventOf(i === place ? 'culprit' : `${i}`));
      await enqueue(events);
      const service = await launch(async (event, work) => {
        await hear(event, work);
        if (event.data.text === 'culprit') throw new Error('not this one');
      });
      const others = events.filter((_, i) => i !== place);
      await eventually(async () => expect(await heard()).to.deep.equal(ids(others)), LONG);
      await eventually(async () => expect(await broker.queueDepth('beta.retry.10m')).to.equal(1), LONG);
      const [waiting] = await broker.get('beta.retry.10m', { remove: true });
      expect(waiting?.body.id).to.equal(events[place]?.id);
      const failures = waiting?.properties.headers?.['x-warren-failures'];
      expect(failures).to.have.length(1);
      expect(failures[0]).to.deep.include({
        reason: 'handler_failed',
        error: 'not this one',
        version: '1.0.0',
      });
      await eventually(async () =>
        expect(await outcomes(service)).to.deep.equal({ handled: 12, duplicate: 0, retried: 1, dead: 0 }),
      );
      for (const text of calls) expect(calls.filter((each) => each === text)).to.have.length.at.most(3);
    });

  it('are handled one after the other with the same subject, and each sees the result of the one before', async () => {
    await database.admin('truncate notes');
    const note = newId();
    await enqueue(Array.from({ length: 30 }, (_, i) => eventOf(`${i},`, note)));
    await launch(async ({ subject, data }, { transaction }) => {
      const earlier = await transaction
        .selectFrom('notes')
        .selectAll()
        .where('id', '=', subject as string)
        .forUpdate()
        .executeTakeFirst();
      await sql`select pg_sleep(0.001)`.execute(transaction);
      const text = `${earlier?.text ?? ''}${data.text}`;
      if (earlier === undefined)
        await transaction
          .insertInto('notes')
          .values({ id: subject as string, text })
          .execute();
      else
        await transaction
          .updateTable('notes')
          .set({ text })
          .where('id', '=', subject as string)
          .execute();
    });
    const expected = Array.from({ length: 30 }, (_, i) => `${i},`).join('');
    await eventually(
      async () => expect(await database.admin('select text from notes')).to.deep.equal([{ text: expected }]),
      LONG,
    );
  });

  it('fail alone when their `key` throws', async () => {
    const events = Array.from({ length: 8 }, (_, i) => eventOf(i === 2 ? 'keyless' : `${i}`));
    await enqueue(events);
    await launch(hear, {}, ({ data }) => {
      if (data.text === 'keyless') throw new Error('no key');
      return data.noteId;
    });
    const others = events.filter(({ data }) => data.text !== 'keyless');
    await eventually(async () => expect(await heard()).to.deep.equal(ids(others)), LONG);
    await eventually(async () => expect(await broker.queueDepth('beta.retry.10m')).to.equal(1), LONG);
    await broker.purge('beta.retry.10m');
    expect(calls).not.to.include('keyless');
  });

  it('are handled and remembered also with forged headers', async () => {
    const event = eventOf('x');
    await broker.publish('events', written.routingKey, event, {
      headers: { 'x-warren-attempts': 2_000_000, 'x-warren-failures': [{ error: 'a\0' }, 'text'] },
    });
    await launch(hear);
    await eventually(async () => expect(await heard()).to.deep.equal(ids([event])), LONG);
    expect(await database.admin('select attempts, failures from warren.inbox')).to.deep.equal([
      { attempts: 32_767, failures: null },
    ]);
  });

  it('are handled while one of them hangs, which is then retried alone', async () => {
    const hangs = Promise.withResolvers<void>();
    const events = Array.from({ length: 8 }, (_, i) => eventOf(i === 2 ? 'hangs' : `${i}`));
    await enqueue(events);
    await launch(async (event, work) => {
      if (event.data.text === 'hangs') await hangs.promise;
      await hear(event, work);
    });
    const others = events.filter(({ data }) => data.text !== 'hangs');
    await eventually(async () => expect(await heard()).to.deep.equal(ids(others)), LONG);
    hangs.resolve();
    await eventually(async () => expect(await heard()).to.deep.equal(ids(events)), LONG);
  });

  it('are handled once each by two replicas whose handlers lock in opposite orders', async () => {
    await database.admin('truncate notes');
    const [a, b] = [newId(), newId()].sort() as [string, string];
    for (const id of [a, b]) await database.admin(`insert into notes values ($1, '')`, [id]);
    const events = Array.from({ length: 60 }, (_, i) => eventOf(i % 2 === 0 ? 'ab' : 'ba'));
    await enqueue(events);
    const handler: Handler<Written, NoteSchema> = async (event, work) => {
      for (const id of event.data.text === 'ab' ? [a, b] : [b, a]) {
        await sql`update notes set text = text || '.' where id = ${id}`.execute(work.transaction);
        await sql`select pg_sleep(0.002)`.execute(work.transaction);
      }
      await hear(event, work);
    };
    await Promise.all([launch(handler), launch(handler)]);
    await eventually(async () => expect(await heard()).to.deep.equal(ids(events)), { timeout: 120_000 });
    const lengths = await database.admin<{ n: number }>('select length(text) as n from notes');
    expect(lengths.map(({ n }) => n)).to.deep.equal([60, 60]);
  });

  it('are redelivered when the broker is lost before they are acked, and have their effect once', async () => {
    const events = Array.from({ length: 40 }, (_, i) => eventOf(`${i}`));
    await enqueue(events);
    let cut = false;
    const service = await launch(async (event, work) => {
      await hear(event, work);
      if (cut) return;
      cut = true;
      // By the time of the commit the acknowledgement has nowhere to go.
      await disconnect(broker);
    });
    await eventually(async () => expect(await heard()).to.deep.equal(ids(events)), LONG);
    await eventually(async () => expect(await broker.queueDepth(QUEUE)).to.equal(0), LONG);
    await eventually(async () => expect((await outcomes(service)).handled).to.be.at.least(40));
    expect(await outcomes(service)).to.deep.include({ retried: 0, dead: 0 });
  });

  for (const step of ['in a handler', 'while it commits', 'before the ack'])
    it(`have their effect once when the process dies ${step}`, async () => {
      const events = Array.from({ length: 20 }, (_, i) => eventOf(`${i}`));
      await enqueue(events);
      const directory = mkdtempSync(join(tmpdir(), 'warren-dies-'));
      const [port, adminPort] = (await freePorts(2)) as [number, number];
      const env = {
        PORT: port,
        ADMIN_PORT: adminPort,
        AMQP_URL: broker.url('beta'),
        DATABASE_URL: database.url,
        LOG_LEVEL: 'info',
        DIES: step,
        DIED: join(directory, 'died'),
      };
      try {
        const first = startProcess({ cwd: '.', entry: 'test/fixtures/dying-process.ts', env });
        await first.ended;
        const second = startProcess({ cwd: '.', entry: 'test/fixtures/dying-process.ts', env });
        await eventually(async () => expect(await heard()).to.deep.equal(ids(events)), LONG);
        await eventually(async () => expect(await broker.queueDepth(QUEUE)).to.equal(0), LONG);
        await second.kill('SIGTERM');
        expect(await broker.queueDepth(QUEUE), 'acknowledged').to.equal(0);
        expect(await heard()).to.deep.equal(ids(events));
      } finally {
        rmSync(directory, { recursive: true });
      }
    });
});

describe('requests that share a transaction', function () {
  this.timeout(120_000);
  const database = withDatabase();
  let service: RunningService;
  let calls = 0;

  const noted: ServiceDescription = defineService<object, NoteSchema>({
    name: 'notes',
    version: '1.0.0',
    migrations: alpha.migrations as URL,
    routes: [
      post(
        '/notes',
        {
          access: 'public',
          body: Joi.object<{ id: string; text: string }>({
            id: Joi.string().required(),
            text: Joi.string().required(),
          }),
          responses: {},
          shared: ({ body }) => body.id,
        },
        async ({ body }, { transaction, signal }: WorkContext<NoteSchema>) => {
          calls += 1;
          const row = await transaction
            .insertInto('notes')
            .values(body)
            .onConflict((conflict) => conflict.doNothing())
            .returning('id')
            .executeTakeFirst();
          if (row === undefined)
            throw problem(409, { code: 'taken', title: 'Taken', detail: 'It is taken.' });
          if (body.text === 'fails') throw new Error('not this one');
          if (body.text === 'fails in PostgreSQL') await sql`select 1 / 0`.execute(transaction);
          if (body.text === 'hangs')
            await new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
          return created(`/notes/${body.id}`, body);
        },
      ),
    ],
  });

  before(async () => {
    service = await start(noted, {
      PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: 'silent',
      DATABASE_URL: database.url,
      REQUEST_TIMEOUT: '3s',
    });
  });
  after(() => service?.stop());
  beforeEach(async () => {
    await database.admin('truncate notes');
    calls = 0;
  });

  const write = async (body: object, headers: Record<string, string> = {}) =>
    (
      await fetch(`${service.url}/notes`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      })
    ).status;
  const kept = async () =>
    (await database.admin<{ text: string }>('select text from notes')).map(({ text }) => text).sort();

  it('get a response each: one that fails costs the others nothing', async () => {
    const texts = Array.from({ length: 40 }, (_, i) => `${i}`);
    texts[7] = 'fails';
    texts[23] = 'fails in PostgreSQL';
    const answers = await Promise.all(texts.map((text) => write({ id: newId(), text })));
    expect(
      answers.map((status, i) => (status === 201 ? undefined : [i, status])).filter(Boolean),
    ).to.deep.equal([
      [7, 500],
      [23, 500],
    ]);
    expect(await kept()).to.deep.equal(texts.filter((text) => !text.startsWith('fails')).sort());
  });

  it('are refused without a rollback when they have written nothing', async () => {
    const id = newId();
    expect(await write({ id, text: 'first' })).to.equal(201);
    const before = calls;
    const answers = await Promise.all([
      ...Array.from({ length: 20 }, () => write({ id, text: 'again' })),
      ...Array.from({ length: 20 }, (_, i) => write({ id: newId(), text: `${i}` })),
    ]);
    expect(answers.filter((status) => status === 409)).to.have.length(20);
    expect(answers.filter((status) => status === 201)).to.have.length(20);
    expect(calls - before).to.equal(40);
  });

  it('succeed for one of many that want the same thing at once', async () => {
    const id = newId();
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => write({ id, text: `${i}` })));
    expect(answers.filter((status) => status === 201)).to.have.length(1);
    expect(answers.filter((status) => status === 409)).to.have.length(29);
    expect(await kept()).to.have.length(1);
  });

  it('have one effect under one Idempotency-Key when others in the transaction fail', async () => {
    const id = newId();
    const headers = { 'idempotency-key': newId() };
    const answers = await Promise.all([
      ...Array.from({ length: 10 }, () => write({ id, text: 'once' }, headers)),
      ...Array.from({ length: 10 }, () => write({ id: newId(), text: 'fails' })),
    ]);
    expect(answers.slice(0, 10)).to.deep.equal(Array(10).fill(201));
    expect(answers.slice(10)).to.deep.equal(Array(10).fill(500));
    expect(await kept()).to.deep.equal(['once']);
  });

  it('do not wait for one that hangs longer than a second', async () => {
    const since = performance.now();
    const hanging = write({ id: newId(), text: 'hangs' });
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, i) => write({ id: newId(), text: `${i}` })),
    );
    const took = performance.now() - since;
    expect(answers).to.deep.equal(Array(10).fill(201));
    expect(await hanging).to.equal(503);
    console.log(`        the others took ${Math.round(took)} ms`);
  });
});
