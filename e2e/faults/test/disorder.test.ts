import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import {
  delayEvents,
  everyService,
  figure,
  type Mailbox,
  type Name,
  type Replica,
  seeded,
  withSystem,
} from '../../support/src/index.ts';

describe('events that arrive twice, late, and in the wrong order', () => {
  const system = withSystem({ services: everyService, mail: true });
  const random = seeded(111);
  let replicas: Record<Name, Replica>;

  before('the services', async function () {
    this.timeout(90_000);
    replicas = await system.runAll();
  });

  const doBusiness = async (seed: number, signUps: number, orders: number, tooDear = 0.3) => {
    const { gateway } = replicas;
    const business = system.business({
      ...{ signUps, orders, seed, tooDear },
      concurrency: 16,
      target: () => gateway.url,
    });
    await business.finished;
  };
  const restart = async (service: Name, env: Record<string, string>) => {
    expect(await replicas[service].end()).to.equal(0);
    replicas[service].start(env);
    await replicas[service].ready();
    await eventually(async () => expect(await replicas[service].metric('broker_connected')).to.equal(1));
  };
  const consumed = (service: Name, outcome: string) =>
    replicas[service].metric('events_consumed_total', { outcome });
  /** What there is of orders and payments, by status. */
  const statuses = async (service: 'order' | 'payment') =>
    Object.fromEntries(
      (
        await system.sql<{ status: string; n: number }>(
          service,
          `select status, count(*)::int as n from ${service}s group by status`,
        )
      ).map(({ status, n }) => [status, n]),
    );
  /** Sends every event there was once more, in any order; how many these are. */
  const repeatAll = async () => {
    const events = random.shuffle(await system.recorder.read());
    for (const { routingKey, payload, properties } of events)
      await system.broker.publish('events', routingKey, payload, properties);
    return events.length;
  };

  it('have no second effect when repeated and shuffled', async function () {
    this.timeout(60_000);
    await doBusiness(111, 40, 60);
    await system.accounts();
    const repeats = await repeatAll();
    for (const service of ['session', 'order', 'payment', 'email'] as const)
      await eventually(async () => expect(await consumed(service, 'duplicate')).to.be.above(0));
    expect((await system.accounts({ duplicates: true })).duplicates).to.equal(repeats);
    figure('events repeated', repeats);
  });

  it('have no second effect when the inboxes are empty', async function () {
    this.timeout(60_000);
    const mails = (system.mailbox as Mailbox).mails.length;
    for (const service of ['session', 'order', 'payment', 'email'] as const)
      await system.sql(service, 'truncate warren.inbox');
    const repeats = await repeatAll();
    expect((await system.accounts({ duplicates: true })).duplicates).to.equal(repeats);
    expect((system.mailbox as Mailbox).mails.length).to.equal(mails);
    expect(await replicas.order.metric('order_transitions_refused_total')).to.be.above(0);
  });

  it('an e-mail waits for its user while its order goes on', async function () {
    this.timeout(60_000);
    const users = await delayEvents(system, 'email', 'user.created');
    const orders = await delayEvents(system, 'email', 'order.created');
    const waiting = () =>
      system.sql<{ template: string; status: string }>(
        'email',
        'select template, status from emails where recipient is null',
      );
    await doBusiness(112, 10, 30);
    await eventually(async () => expect((await statuses('order')).pending).to.equal(undefined), {
      timeout: 30_000,
    });
    // Of each new user the confirmation of the welcome order, at least.
    await eventually(async () => expect((await waiting()).length).to.be.at.least(10));
    expect(new Set((await waiting()).map(({ status }) => status))).to.deep.equal(new Set(['pending']));
    await orders.release(random, 40);
    await users.release(random, 10);
    await system.accounts({ duplicates: true });
  });

  it('users get their sessions and welcome orders when sign-ups arrive late and in another order', async function () {
    this.timeout(60_000);
    const held = [
      await delayEvents(system, 'order', 'user.created'),
      await delayEvents(system, 'session', 'user.created'),
    ];
    await doBusiness(113, 20, 0);
    for (const each of held) await each.release(random, 20);
    await system.accounts({ duplicates: true });
  });

  it('an order is never charged when payment gets its cancellation first', async function () {
    this.timeout(60_000);
    await restart('order', { PAYMENT_TIMEOUT: '1500ms' });
    const before = await statuses('payment');
    const held = await delayEvents(system, 'payment', 'order.created');
    await doBusiness(114, 10, 10);
    await eventually(async () => expect((await statuses('payment')).void).to.equal(20), { timeout: 30_000 });
    await held.release(random, 20);
    await system.accounts({ duplicates: true, asPriced: false });
    expect(await statuses('payment')).to.deep.equal({ ...before, void: 20 });
    expect(
      await system.sql(
        'payment',
        "select 1 from simulator.books, payments where reference = order_id::text and status = 'void'",
      ),
      'requests for their money',
    ).to.have.length(0);
  });

  it('an order stays cancelled and is refunded when its refund arrives before its late payment', async function () {
    this.timeout(60_000);
    await restart('order', {});
    const before = await statuses('payment');
    const held = await delayEvents(system, 'order', 'payment.processed');
    await doBusiness(115, 10, 10, 0);
    const { processed = 0 } = before;
    await eventually(
      async () => expect(await statuses('payment')).to.deep.equal({ ...before, processed: processed + 20 }),
      { timeout: 30_000 },
    );
    await restart('order', { PAYMENT_TIMEOUT: '4s' });
    await system.sql('order', "update warren.tasks set due_at = now() where kind = 'order.expire'");
    await eventually(async () => expect((await statuses('payment')).refunded).to.equal(20), {
      timeout: 30_000,
    });
    await held.release(random, 20);
    await system.accounts({ duplicates: true, asPriced: false });
    expect(await statuses('payment')).to.deep.equal({ ...before, refunded: 20 });
    expect(
      await system.sql('email', "select 1 from emails where template = 'payment-refunded'"),
      'e-mails about it',
    ).to.have.length(20);
  });

  it('an order that is cancelled during its charge is refunded; one whose charge has not begun is never charged', async function () {
    this.timeout(60_000);
    await restart('payment', { PROVIDER_LATENCY: '7s' });
    const before = await statuses('payment');
    await doBusiness(116, 10, 30, 0);
    await eventually(async () => expect((await statuses('order')).pending).to.equal(undefined), {
      timeout: 30_000,
    });
    await system.accounts({ duplicates: true, asPriced: false, end: true });
    const after = await statuses('payment');
    const more = (status: string) => (after[status] ?? 0) - (before[status] ?? 0);
    figure('refunded', more('refunded'));
    figure('never charged', more('void'));
    expect(more('refunded')).to.be.above(0);
    expect(more('void')).to.be.above(0);
    expect(more('refunded') + more('void')).to.equal(40);
  });
});
