import { type Kysely, sql } from '@warren/chassis';
import { paymentFailed } from '@warren/contracts';
import { eventually, withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import fc from 'fast-check';
import {
  CHARGE,
  cancelPayment,
  openPayment,
  paymentsOf,
  REFUND,
  settleCharge,
  settleRefund,
} from '../src/payments.ts';
import type { Charge, Outcome, Refund } from '../src/provider.ts';
import { simulator } from '../src/simulator.ts';
import { type Bench, openBench } from './bench.ts';
import { balances, booksOf } from './books.ts';
import { orderOf, type TestOrder } from './events.ts';

describe('the payment for an order', () => {
  const database = withDatabase();
  let bench: Bench;
  const { signal } = new AbortController();

  before(async () => {
    bench = await openBench(database.url);
  });
  after(() => bench?.stop());

  // --- One step each: what handlers and workers do, at a time the test chooses ---

  const create = ({ facts }: TestOrder) => bench.work((work) => openPayment(work, facts));
  const cancel = ({ facts }: TestOrder, reason = 'payment_timeout') =>
    bench.work((work) => cancelPayment(work, { ...facts, reason }));

  const paymentOf = async ({ orderId }: TestOrder) => {
    const { items } = await paymentsOf(bench.database, { orderId, limit: 2 });
    expect(items.length, 'payments for one order').to.be.at.most(1);
    return items[0];
  };
  const task = async ({ orderId }: TestOrder, kind: string) => {
    const { rows } = await sql<{ key: string; data: Charge & Refund }>`
      select t.key, t.data from warren.tasks t join payments p on p.id::text = t.key
      where p.order_id = ${orderId} and t.kind = ${kind}`.execute(bench.database);
    return rows[0];
  };
  /** As a worker claims it. */
  const begin = async (order: TestOrder, kind: string) => {
    const found = await task(order, kind);
    if (found !== undefined)
      await sql`
        update warren.tasks set attempts = attempts + 1 where kind = ${kind} and key = ${found.key}`.execute(
        bench.database,
      );
    return found;
  };
  const provider = (random = () => 1) =>
    simulator(
      bench.database,
      { PAYMENT_LIMIT: 1000_00, PROVIDER_LATENCY: 0, PROVIDER_FAILURE_RATE: 0.1, PROVIDER_TIMEOUT_RATE: 0.4 },
      random,
    );
  const settle = async (kind: string, key: string, outcome: Outcome) =>
    bench.work(async (work) => {
      const { numDeletedRows } = await (work.transaction as unknown as TasksOf)
        .deleteFrom('warren.tasks')
        .where('kind', '=', kind)
        .where('key', '=', key)
        .executeTakeFirst();
      if (numDeletedRows !== 1n) return;
      if (kind === CHARGE) await settleCharge(work, key, outcome);
      else await settleRefund(work, key);
    });
  const charge = async (order: TestOrder) => {
    const found = await begin(order, CHARGE);
    if (found === undefined) return;
    await settle(CHARGE, found.key, await provider().charge(found.data, signal));
  };
  const refund = async (order: TestOrder) => {
    const found = await begin(order, REFUND);
    if (found === undefined) return;
    await provider().refund(found.data, signal);
    await settle(REFUND, found.key, { outcome: 'accepted' });
  };
  /** Types of the events about it, in the order of their commits. */
  const told = async (order: TestOrder) => {
    const { id } = (await paymentOf(order)) ?? {};
    const { rows } = await sql<{ type: string }>`
      select type from warren.outbox where aggregate = ${id} order by id`.execute(bench.database);
    return rows.map(({ type }) => type);
  };

  // --- What becomes of it ---

  it('is pending until it is charged, then processed', async () => {
    const order = orderOf({ price: 19.99, currency: 'GBP' });
    await create(order);
    expect(await paymentOf(order)).to.include({ status: 'pending', amount: 19.99, currency: 'GBP' });
    await charge(order);
    expect(await paymentOf(order))
      .to.include({ status: 'processed', amount: 19.99 })
      .and.not.have.property('reason');
    expect(await told(order)).to.deep.equal(['payment.processed']);
  });

  it('fails with the reason of the provider, without a charge', async () => {
    const order = orderOf({ price: 1000.01 });
    await create(order);
    await charge(order);
    expect(await paymentOf(order)).to.include({ status: 'failed', reason: 'limit_exceeded' });
    expect(await told(order)).to.deep.equal(['payment.failed']);
    expect((await balances(database)).has(order.orderId)).to.equal(false);
  });

  it('truncates a long reason of the provider to what an event can carry', async () => {
    const order = orderOf();
    await create(order);
    const { key } = (await begin(order, CHARGE))!;
    await settle(CHARGE, key, { outcome: 'declined', reason: 'x'.repeat(5_000) });
    const { reason } = (await paymentOf(order))!;
    expect(paymentFailed.schema.extract('reason').validate(reason).error).to.equal(undefined);
    expect(reason).to.have.length(200);
  });

  for (const [what, said, kept] of [
    ['nothing', '', 'declined'],
    ['what no database keeps', 'card\0declined\r\n', 'card declined'],
    ['half a character at the end', `${'x'.repeat(199)}\u{1f407}`, `${'x'.repeat(199)}\ufffd`],
  ] as const)
    it(`fails also when the provider's reason is ${what}`, async () => {
      const order = orderOf();
      await create(order);
      const { key } = (await begin(order, CHARGE))!;
      await settle(CHARGE, key, { outcome: 'declined', reason: said });
      expect(await paymentOf(order)).to.include({ status: 'failed', reason: kept });
      expect(await told(order)).to.deep.equal(['payment.failed']);
    });

  describe('whose order is cancelled', () => {
    const cases: {
      when: string;
      before: (order: TestOrder) => Promise<unknown>;
      status: string;
      told: string[];
    }[] = [
      { when: 'before it is heard of', before: async () => {}, status: 'void', told: [] },
      { when: 'before anybody has begun to charge it', before: create, status: 'void', told: [] },
      {
        when: 'once it is processed',
        before: async (order) => {
          await create(order);
          await charge(order);
        },
        status: 'refunded',
        told: ['payment.processed', 'payment.refunded'],
      },
      {
        when: 'once it has failed',
        before: async (order) => {
          Object.assign(order.facts, { price: 5000 });
          await create(order);
          await charge(order);
        },
        status: 'failed',
        told: ['payment.failed'],
      },
      {
        when: 'once it is refunded',
        before: async (order) => {
          await create(order);
          await charge(order);
          await cancel(order, 'the first reason');
          await refund(order);
        },
        status: 'refunded',
        told: ['payment.processed', 'payment.refunded'],
      },
    ];
    for (const { when, before, status, told: events } of cases)
      it(`${when} ends ${status}, for any number of deliveries`, async () => {
        const order = orderOf();
        await before(order);
        for (const reason of ['the first reason', 'another reason']) {
          await cancel(order, reason);
          await create(order);
        }
        for (const _ of ['once', 'again']) {
          await charge(order);
          await refund(order);
          await cancel(order, 'a late reason');
        }
        expect(await paymentOf(order)).to.include({
          status,
          reason: status === 'failed' ? 'limit_exceeded' : 'the first reason',
        });
        expect(await told(order)).to.deep.equal(events);
        expect((await balances(database)).get(order.orderId)?.balance ?? 0).to.equal(0);
        for (const kind of [CHARGE, REFUND]) expect(await task(order, kind)).to.equal(undefined);
      });

    it('stays pending during its charge, and is refunded after it', async () => {
      const order = orderOf();
      await create(order);
      const { key, data } = (await begin(order, CHARGE))!;
      await cancel(order, 'changed my mind');
      expect(await paymentOf(order)).to.include({ status: 'pending' });
      await settle(CHARGE, key, await provider().charge(data, signal));
      expect(await paymentOf(order)).to.include({ status: 'processed' });
      expect((await balances(database)).get(order.orderId)).to.include({ balance: 19_99 });
      await refund(order);
      expect(await paymentOf(order)).to.include({ status: 'refunded', reason: 'changed my mind' });
      expect((await balances(database)).get(order.orderId)).to.include({ balance: 0, refunds: 1 });
      expect(await told(order)).to.deep.equal(['payment.processed', 'payment.refunded']);
    });

    it('after an attempt with an unknown outcome is charged and refunded, because the money may have been taken', async () => {
      const order = orderOf();
      await create(order);
      const { data } = (await begin(order, CHARGE))!;
      const rolls = [1, 0, 1].values();
      const lost = await provider(() => rolls.next().value as number)
        .charge(data, signal)
        .catch((error) => error.code);
      expect(lost).to.equal('provider_timeout');
      expect(await booksOf(database, order.orderId)).to.have.length(1);
      await cancel(order);
      await charge(order);
      await refund(order);
      expect(await paymentOf(order)).to.include({ status: 'refunded' });
      expect((await balances(database)).get(order.orderId)).to.deep.equal({
        balance: 0,
        charges: 1,
        refunds: 1,
      });
    });

    for (const [first, then] of [
      ['the end of its charge', 'the cancellation'],
      ['the cancellation', 'the end of its charge'],
    ] as const)
      it(`is refunded when ${first} is not committed yet as ${then} arrives`, async () => {
        const order = orderOf();
        await create(order);
        const { key, data } = (await begin(order, CHARGE))!;
        const outcome = await provider().charge(data, signal);
        const steps = {
          'the end of its charge': (work: Parameters<typeof settleCharge>[0]) =>
            settleCharge(work, key, outcome),
          'the cancellation': (work: Parameters<typeof cancelPayment>[0]) =>
            cancelPayment(work, { ...order.facts, reason: 'changed my mind' }),
        };
        const written = Promise.withResolvers<void>();
        const commit = Promise.withResolvers<void>();
        const one = bench.work(async (work) => {
          await steps[first](work);
          written.resolve();
          await commit.promise;
        });
        await written.promise;
        const other = bench.work(steps[then]);
        await eventually(async () =>
          expect(
            await database.admin(
              `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
            ),
          ).to.have.length(1),
        );
        commit.resolve();
        await Promise.all([one, other]);
        await refund(order);
        expect(await paymentOf(order)).to.include({ status: 'refunded', reason: 'changed my mind' });
        expect((await balances(database)).get(order.orderId)).to.include({ balance: 0 });
        expect(await told(order)).to.deep.equal(['payment.processed', 'payment.refunded']);
      });

    it('has nothing to refund when the charge in flight is declined', async () => {
      const order = orderOf({ price: 1000.01 });
      await create(order);
      const { key, data } = (await begin(order, CHARGE))!;
      await cancel(order);
      await settle(CHARGE, key, await provider().charge(data, signal));
      expect(await paymentOf(order)).to.include({ status: 'failed', reason: 'limit_exceeded' });
      expect(await task(order, REFUND)).to.equal(undefined);
      expect(await told(order)).to.deep.equal(['payment.failed']);
    });
  });

  it('keeps no money of a cancelled order and charges every other once, for any events in any order', async function () {
    this.timeout(120_000);
    const roll = fc.double({ min: 0, max: 0.99, noNaN: true });
    type Step = 'create' | 'cancel' | 'begin' | 'settle' | 'die' | { rolls: number[] };
    const answered: Step = { rolls: [0.9, 0.9, 0.9] };
    const isCharge = ({ kind }: { kind: string }) => kind === 'charge';
    const beginnings: Step[][] = [
      [],
      ['create', 'begin'],
      ['create', 'begin', answered],
      ['create', 'begin', answered, 'settle'],
    ];
    const step: fc.Arbitrary<Step> = fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom<Step>('create', 'begin', 'settle') },
      { weight: 1, arbitrary: fc.constantFrom<Step>('cancel', 'die') },
      { weight: 1, arbitrary: fc.record({ rolls: fc.array(roll, { minLength: 3, maxLength: 3 }) }) },
    );
    const seen = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(fc.constantFrom(...beginnings), fc.array(step, { maxLength: 12 })),
        fc.boolean(),
        fc.constantFrom(0, 19.99, 1000.01),
        async ([beginning, more], cancelled, price) => {
          const order = orderOf({ price });
          // What a worker holds: begun, and perhaps answered.
          let held: { kind: string; key: string; data: Charge & Refund; outcome?: Outcome } | undefined;
          const ask = async (random?: () => number) => {
            if (held === undefined) return;
            const by = provider(random);
            held.outcome =
              held.kind === CHARGE
                ? await by.charge(held.data, signal)
                : await by.refund(held.data, signal).then(() => ({ outcome: 'accepted' }) as const);
          };
          const claim = async () => {
            for (const kind of [CHARGE, REFUND]) {
              const found = held === undefined ? await begin(order, kind) : undefined;
              if (found !== undefined) held = { kind, ...found };
            }
          };
          const finish = async () => {
            if (held?.outcome === undefined) return;
            await settle(held.kind, held.key, held.outcome);
            held = undefined;
          };
          for (const one of [...beginning, ...more]) {
            if (one === 'create') await create(order);
            else if (one === 'cancel') await (cancelled && cancel(order));
            else if (one === 'begin') await claim();
            else if (one === 'settle') await finish();
            else if (one === 'die') held = undefined;
            else {
              const rolls = one.rolls.values();
              await ask(() => rolls.next().value ?? 1).catch((error) => {
                if (error.name !== 'ProviderError') throw error;
              });
            }
          }
          // Everything is heard at last, and every task is done.
          await create(order);
          if (cancelled) await cancel(order);
          for (let left = true; left; ) {
            await claim();
            left = held !== undefined;
            await ask();
            await finish();
          }

          const { status } = (await paymentOf(order))!;
          seen.set(status, (seen.get(status) ?? 0) + 1);
          const books = await bench.database
            .selectFrom('simulator.books')
            .select(['kind', 'amount'])
            .where('reference', '=', order.orderId)
            .where('outcome', '=', 'accepted')
            .execute();
          const [charges, refunds] = [books.filter(isCharge), books.filter((book) => !isCharge(book))];
          const sum = (entries: typeof books) => entries.reduce((total, { amount }) => total + amount, 0);
          const booked = {
            balance: sum(charges) - sum(refunds),
            charges: charges.length,
            refunds: refunds.length,
          };
          const taken = Math.round(price * 100);
          const expected = {
            processed: { balance: taken, charges: 1, refunds: 0 },
            refunded: { balance: 0, charges: 1, refunds: 1 },
            failed: { balance: 0, charges: 0, refunds: 0 },
            void: { balance: 0, charges: 0, refunds: 0 },
            pending: undefined,
          }[status];
          expect(booked, status).to.deep.equal(expected);
          expect(status).to.be.oneOf(
            cancelled
              ? price > 1000
                ? ['void', 'failed']
                : ['void', 'refunded']
              : price > 1000
                ? ['failed']
                : ['processed'],
          );
          expect(await told(order)).to.deep.equal(
            {
              processed: ['payment.processed'],
              refunded: ['payment.processed', 'payment.refunded'],
              failed: ['payment.failed'],
              void: [],
              pending: undefined,
            }[status],
          );
        },
      ),
      { numRuns: Number(process.env.FC_RUNS ?? 150) },
    );
    console.log(`        ${[...seen].map(([status, count]) => `${count} ${status}`).join(', ')}`);
    expect([...seen.keys()]).to.have.members(['processed', 'failed', 'refunded', 'void']);
  });
});

type TasksOf = Kysely<{ 'warren.tasks': { kind: string; key: string } }>;
