import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import {
  everyService,
  figure,
  type Mailbox,
  type Name,
  percentile,
  withSystem,
} from '../../support/src/index.ts';

/** Sign-ups, and as many orders. CI does it once more with 2,000, by itself. */
const COUNT = Number(process.env.ACCOUNTING || 400);
const CONCURRENCY = 32;
/** ms after the last fault within which everything has come to its end. */
const SETTLED = 60_000;

/**
 * E-mails that may be outstanding before nobody begins anything new: so the last figure says how long the faults take to heal,
 * and not how slow this machine is. It is more than an outage of the broker makes: the load goes on meanwhile.
 */
const BEHIND = 1_500;

/** What breaks when this share of the requests has its answer. */
const FAULTS: [number, Name | 'broker'][] = [
  [0.08, 'email'],
  [0.18, 'payment'],
  [0.28, 'broker'],
  [0.4, 'session'],
  [0.5, 'order'],
  [0.62, 'user'],
  [0.74, 'broker'],
  [0.9, 'gateway'],
];

describe('the saga under faults', () => {
  const system = withSystem({ services: everyService, privateBroker: true, mail: true });

  const mailbox = () => system.mailbox as Mailbox;

  it(`${COUNT} sign-ups and ${COUNT} orders by ${CONCURRENCY} clients, while the broker and every service are killed: nothing is lost, nothing doubled, no money kept`, async function () {
    this.timeout(600_000);
    const replicas = await system.runAll();
    const business = system.business({
      signUps: COUNT,
      orders: COUNT,
      concurrency: CONCURRENCY,
      seed: 91,
      target: () => replicas.gateway.url,
      tooDear: 0.2,
      hold: () => 3 * system.ledger.length + 2 * system.orders.length - mailbox().mails.length > BEHIND,
    });
    const begun = performance.now();
    let lastFault = 0;
    for (const [share, victim] of FAULTS) {
      await eventually(() => business.done >= share * business.total, { timeout: 120_000, interval: 5 });
      lastFault = performance.now();
      if (victim === 'broker') {
        await system.broker.kill();
        await system.broker.start();
      } else {
        expect(await replicas[victim].end('SIGKILL'), 'the exit code of a killed process').to.equal(null);
        replicas[victim].start();
      }
      figure(`${victim} killed, at`, lastFault - begun, 'ms');
    }
    await business.finished;
    const answered = performance.now();
    figure('all answered, at', answered - begun, 'ms');

    const { duplicates, settledAfter } = await system.accounts({
      duplicates: true,
      end: true,
      timeout: SETTLED,
    });
    const settled = answered - lastFault + settledAfter;
    const attempts = [...system.ledger, ...system.orders].flatMap((each) => each.attempts);
    figure('requests', attempts.length);
    figure('of them failed, and repeated', attempts.filter(({ error }) => error !== undefined).length);
    figure(
      'p99 of the answers',
      percentile(
        attempts.filter(({ answer }) => answer).map(({ ms }) => ms),
        0.99,
      ),
      'ms',
    );
    figure('events published twice', duplicates);
    figure(
      'e-mails sent twice',
      mailbox().mails.length - new Set(mailbox().mails.map(({ messageId }) => messageId)).size,
    );
    figure('settled after the last fault', settled, 'ms');
    expect(settled).to.be.below(SETTLED);
  });
});
