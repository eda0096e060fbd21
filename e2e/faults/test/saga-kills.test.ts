import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import {
  type Business,
  everyService,
  figure,
  type Mailbox,
  type Name,
  type Replica,
  withSystem,
} from '../../support/src/index.ts';

describe('SIGKILL in the middle of the saga', () => {
  const system = withSystem({ services: everyService, mail: true });
  const mailbox = () => system.mailbox as Mailbox;
  let replicas: Record<Name, Replica>;
  /** Message-ID of an e-mail whose sender was killed before it could know. */
  let handedOver = '';

  before('the services', async function () {
    this.timeout(90_000);
    replicas = await system.runAll();
  });

  const start = (seed: number): Business =>
    system.business({
      signUps: 30,
      orders: 60,
      concurrency: 16,
      seed,
      target: () => replicas.gateway.url,
      tooDear: 0.3,
    });
  const kill = async (service: Name) =>
    expect(await replicas[service].end('SIGKILL'), 'the exit code of a killed process').to.equal(null);
  const restart = async (service: Name) => {
    replicas[service].start();
    await replicas[service].ready();
  };
  /** Rows that are left half done by the death of their service. */
  const left = async (service: Name, rows: string) =>
    (await system.sql<{ n: number }>(service, `select count(*)::int as n from ${rows}`))[0]?.n as number;

  it('of email, after it has sent an e-mail and before the response', async function () {
    this.timeout(60_000);
    let deadly = false;
    mailbox().beforeAnswer = async (mail) => {
      if (!deadly && mailbox().mails.length > 20) {
        deadly = true;
        await kill('email');
        handedOver = mail.messageId;
      }
    };
    const business = start(101);
    await eventually(() => handedOver !== '', { timeout: 30_000 });
    expect(await left('email', "emails where status = 'pending'")).to.be.above(0);
    await restart('email');
    await business.finished;
  });

  for (const [service, moment, seed] of [
    ['payment', 'order.created', 102],
    ['order', 'payment.processed', 103],
    ['session', 'user.created', 104],
    ['user', 'user.created', 105],
  ] as const) {
    it(`of ${service}, at the twentieth ${moment}`, async function () {
      this.timeout(60_000);
      const probe = await system.broker.probe('events', `${moment}.#`);
      const business = start(seed);
      await probe.waitFor({ count: 20 }, { timeout: 30_000 });
      await kill(service);
      if (service === 'payment' || service === 'order')
        expect(await left('order', "orders where status = 'pending'"), 'unpaid orders').to.be.above(0);
      else expect(business.done, 'while there is more to come').to.be.below(business.total);
      await restart(service);
      await business.finished;
      await probe.close();
    });
  }

  it('of gateway, with requests in flight', async function () {
    this.timeout(60_000);
    const business = start(106);
    await eventually(() => business.done >= 20, { timeout: 30_000, interval: 5 });
    await kill('gateway');
    await restart('gateway');
    await business.finished;
    const broken = [...system.ledger, ...system.orders].flatMap(({ attempts }) =>
      attempts.filter(({ error }) => error !== undefined),
    );
    figure('requests that met its death, or its absence', broken.length);
    expect(broken.length).to.be.above(0);
  });

  it('loses nothing', async function () {
    this.timeout(120_000);
    const { signUps, orders, duplicates } = await system.accounts({
      duplicates: true,
      end: true,
      timeout: 60_000,
    });
    const sent = mailbox().mails.map(({ messageId }) => messageId);
    expect(
      sent.filter((messageId) => messageId === handedOver),
      'the e-mail of unknown fate',
    ).to.have.length.above(1);
    figure('e-mails sent twice', sent.length - new Set(sent).size);
    figure('sign-ups', signUps);
    figure('orders', orders);
    figure('events published twice', duplicates);
  });
});
