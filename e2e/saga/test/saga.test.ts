// The saga over both its services. FC_RUNS is how many sequences are tried; FC_SEED, with FC_RUNS=1, is the one that went wrong.
import { withDatabase } from '@warren/testkit';
import { expect } from 'chai';
import { faults } from './support/faults.ts';
import { openParty, type Parties } from './support/parties.ts';
import { CONNECTIONS, rehearse } from './support/rehearsal.ts';

const runs = Number(process.env.FC_RUNS ?? 10_000);
const seed = Number(process.env.FC_SEED ?? Math.trunc(Math.random() * 2 ** 31));

describe('an order and its payment', () => {
  const databases = { order: withDatabase(), payment: withDatabase() };
  let parties: Parties;

  beforeEach('both services, on a database each', async () => {
    parties = {
      order: await openParty('order', databases.order.url, CONNECTIONS),
      payment: await openParty('payment', databases.payment.url, CONNECTIONS),
    };
  });
  afterEach(async () => {
    await parties?.order.database.close();
    await parties?.payment.database.close();
  });

  it(`agree in the end, and the money with them, whatever comes in whatever order: ${runs} sequences`, async function () {
    this.timeout(20 * 60_000);
    const began = performance.now();
    const { endings, seen, wrong } = await rehearse(parties, { runs, seed });
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    console.log(`        FC_SEED=${seed}, ${seconds} s`);
    for (const counts of [endings, seen])
      console.log(`        ${[...counts].map(([what, count]) => `${count} ${what}`).join('; ')}`);
    if (wrong !== undefined) {
      await wrong.shrink();
      throw new Error(`the sequence of seed ${wrong.seed} went wrong, and right when it was run alone`, {
        cause: wrong.error,
      });
    }

    for (const { admin } of Object.values(databases)) {
      expect(await admin('select * from warren.outbox')).to.be.empty;
      expect(await admin('select * from warren.tasks')).to.be.empty;
    }
    const [kept] = await databases.payment.admin<{ sum: string }>(
      `select sum(case kind when 'charge' then amount else -amount end) from simulator.books where outcome = 'accepted'`,
    );
    const [due] = await databases.order.admin<{ sum: string }>(
      `select sum(price) from orders where status = 'paid'`,
    );
    expect(kept?.sum).to.equal(due?.sum);
    // Few do not see it all.
    if (runs < 1_000) return;
    expect([...endings.keys()]).to.have.members([
      'order paid, payment processed',
      'order cancelled (limit_exceeded), payment failed',
      'order cancelled (payment_timeout), payment failed',
      'order cancelled (payment_timeout), payment refunded',
      'order cancelled (payment_timeout), payment void',
    ]);
    expect([...seen.keys()]).to.include.members([
      'a duplicate',
      'rolled back',
      'attempted again',
      'answer lost',
      'answer failed',
      'lease lost',
      'cancelled in flight',
      'cancelled before created',
      'timed out while the broker was unavailable',
    ]);
  });

  for (const [fault, of] of Object.entries(faults))
    it(`are found out: ${fault}`, async () => {
      const { wrong } = await rehearse(of(parties), { runs: 1_000, seed });
      expect(wrong?.error).to.be.an('error');
      console.log(`        ${wrong?.error.message.split('\n')[0]}`);
    });
});
