import { randomUUID } from 'node:crypto';
import { withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import type { Charge, ProviderErrorCode } from '../src/provider.ts';
import { type SimulatorSettings, simulator } from '../src/simulator.ts';
import { type Bench, openBench } from './bench.ts';
import { balances, booksOf } from './books.ts';

describe('the simulated provider', () => {
  const database = withDatabase();
  let bench: Bench;
  const { signal } = new AbortController();

  before(async () => {
    bench = await openBench(database.url);
  });
  after(() => bench?.stop());

  const provider = (settings: Partial<SimulatorSettings> = {}, random?: () => number) =>
    simulator(
      bench.database,
      {
        PAYMENT_LIMIT: 1000_00,
        PROVIDER_LATENCY: 0,
        PROVIDER_FAILURE_RATE: 0,
        PROVIDER_TIMEOUT_RATE: 0,
        ...settings,
      },
      random,
    );
  const chargeOf = (given: Partial<Charge> = {}): Charge => ({
    key: `charge:${randomUUID()}`,
    reference: randomUUID(),
    amount: 19_99,
    currency: 'EUR',
    ...given,
  });
  const refundOf = ({ key }: Charge) => ({ key: key.replace('charge', 'refund'), charge: key });
  const fails = async (request: Promise<unknown>, code: ProviderErrorCode) => {
    const error = await request.then(
      () => undefined,
      (thrown) => thrown,
    );
    expect(error, 'an error').to.include({ name: 'ProviderError', code });
  };

  it('charges once, and returns the same decision to every repeat', async () => {
    const charge = chargeOf();
    for (const _ of ['once', 'again'])
      expect(await provider().charge(charge, signal)).to.deep.equal({ outcome: 'accepted' });
    expect(await booksOf(database, charge.reference)).to.deep.equal([
      { kind: 'charge', outcome: 'accepted', reason: null, amount: 19_99, currency: 'EUR', requests: 2 },
    ]);
  });

  it('charges once for many concurrent requests', async () => {
    const charge = chargeOf();
    const answers = await Promise.all(Array.from({ length: 20 }, () => provider().charge(charge, signal)));
    expect(answers).to.deep.equal(Array(20).fill({ outcome: 'accepted' }));
    expect((await balances(database)).get(charge.reference)).to.include({ balance: 19_99, charges: 1 });
  });

  for (const [amount, outcome] of [
    [0, 'accepted'],
    [1000_00, 'accepted'],
    [1000_01, 'declined'],
  ] as const)
    it(`${outcome} is what becomes of ${amount} under a limit of ${1000_00}`, async () => {
      const charge = chargeOf({ amount });
      const answer = await provider().charge(charge, signal);
      expect(answer).to.deep.equal(
        outcome === 'accepted' ? { outcome } : { outcome, reason: 'limit_exceeded' },
      );
      expect(await booksOf(database, charge.reference)).to.have.length(1);
    });

  it('keeps its decision when the limit changes', async () => {
    const [small, large] = [chargeOf({ amount: 1_00 }), chargeOf({ amount: 2000_00 })];
    await provider().charge(small, signal);
    await provider().charge(large, signal);
    expect(await provider({ PAYMENT_LIMIT: 0 }).charge(small, signal)).to.deep.equal({ outcome: 'accepted' });
    expect(await provider({ PAYMENT_LIMIT: 9999_00 }).charge(large, signal)).to.deep.equal({
      outcome: 'declined',
      reason: 'limit_exceeded',
    });
  });

  it('refuses a key that was used for a different request', async () => {
    const charge = chargeOf();
    await provider().charge(charge, signal);
    for (const other of [{ amount: 1 }, { currency: 'USD' as const }, { reference: randomUUID() }])
      await fails(provider().charge({ ...charge, ...other }, signal), 'provider_refused');
    const second = chargeOf();
    await provider().charge(second, signal);
    await provider().refund(refundOf(charge), signal);
    await fails(provider().refund({ ...refundOf(charge), charge: second.key }, signal), 'provider_refused');
    await fails(provider().charge({ ...charge, key: refundOf(charge).key }, signal), 'provider_refused');
    expect((await balances(database)).get(second.reference)).to.include({ balance: 19_99 });
  });

  it('refunds a whole charge, once for any number of requests', async () => {
    // Many times over: refunds that meet in one moment must not wait for each other in a circle.
    for (let round = 0; round < 100; round += 1) {
      const again = chargeOf();
      await provider().charge(again, signal);
      await Promise.all(Array.from({ length: 8 }, () => provider().refund(refundOf(again), signal)));
    }
    const charge = chargeOf();
    await provider().charge(charge, signal);
    await Promise.all(Array.from({ length: 20 }, () => provider().refund(refundOf(charge), signal)));
    expect((await balances(database)).get(charge.reference)).to.deep.equal({
      balance: 0,
      charges: 1,
      refunds: 1,
    });
    await fails(
      provider().refund({ key: `refund:${randomUUID()}`, charge: charge.key }, signal),
      'provider_refused',
    );
    expect((await balances(database)).get(charge.reference)).to.include({ balance: 0 });
  });

  it('refuses to refund a charge that does not exist', async () => {
    const declined = chargeOf({ amount: 2000_00 });
    await provider().charge(declined, signal);
    for (const charge of [declined, chargeOf()])
      await fails(provider().refund(refundOf(charge), signal), 'provider_refused');
    expect((await balances(database)).has(declined.reference)).to.equal(false);
  });

  it('fails at the given rate, without an effect', async () => {
    const sequence = [0.1, 0.3, 0.29, 0.31].values();
    const flaky = provider({ PROVIDER_FAILURE_RATE: 0.3 }, () => sequence.next().value ?? 1);
    const charge = chargeOf();
    await fails(flaky.charge(charge, signal), 'provider_unavailable');
    expect(await booksOf(database, charge.reference)).to.deep.equal([]);
    expect(await flaky.charge(charge, signal)).to.deep.equal({ outcome: 'accepted' });
  });

  it('times out at the given rate, with or without an effect, and charges once when retried', async () => {
    const silent = provider({ PROVIDER_TIMEOUT_RATE: 1 });
    let [done, notDone] = [0, 0];
    while (done < 3 || notDone < 3) {
      const charge = chargeOf();
      await fails(silent.charge(charge, signal), 'provider_timeout');
      const before = (await booksOf(database, charge.reference)).length;
      if (before === 1) done += 1;
      else notDone += 1;
      expect(await provider().charge(charge, signal)).to.deep.equal({ outcome: 'accepted' });
      expect(await booksOf(database, charge.reference)).to.deep.include.members([
        {
          kind: 'charge',
          outcome: 'accepted',
          reason: null,
          amount: 19_99,
          currency: 'EUR',
          requests: 1 + before,
        },
      ]);
    }
  });

  it('responds after its latency, and aborts when the signal is aborted', async () => {
    const began = performance.now();
    await provider({ PROVIDER_LATENCY: 100 }).charge(chargeOf(), signal);
    expect(performance.now() - began).to.be.at.least(95);

    const leaving = new AbortController();
    const charge = chargeOf();
    const request = provider({ PROVIDER_LATENCY: 60_000 }).charge(charge, leaving.signal);
    leaving.abort();
    expect(await request.catch((error) => error.name)).to.equal('AbortError');
    expect(await booksOf(database, charge.reference)).to.deep.equal([]);
  });
});
