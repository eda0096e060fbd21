// Audits a system after a test: counts what must be true in the databases, on the broker and in the mailbox, after any fault.
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import type { RecordedEvent } from '../event-recorder.ts';
import { describeLast } from '../pending-request.ts';
import { isStateful, type Name } from '../replica.ts';
import { type Audited, type Auditor, count, type Due } from './auditor.ts';
import { differences, none, told, unique } from './differences.ts';
import { email } from './emails.ts';
import { order, payment } from './orders.ts';
import { session, user } from './sign-ups.ts';

const auditors: Partial<Record<Name, Auditor>> = { user, session, order, payment, email };

export interface AccountsOptions {
  /** Whether events may have been published more than once since the last accounts. */
  duplicates?: boolean;
  /** Whether an order must end as its price says; otherwise paid or cancelled will do. Default true. */
  asPriced?: boolean;
  /** Stop the services before the count, and assert that they end with 0. */
  end?: boolean;
  /** ms to wait for what is still under way, default 30,000 */
  timeout?: number;
}

export interface Accounts {
  signUps: number;
  orders: number;
  /** Events that were published once more than needed since the last accounts, under the same id. */
  duplicates: number;
  /** ms from the call until everything had arrived. */
  settledAfter: number;
}

/** What the last accounts of a system have found. */
const repeatedBefore = new WeakMap<Audited, number>();

/**
 * Waits until nothing is under way any more, then asserts of the services of this system: everybody in the ledger has a 201, one
 * user, one session, one welcome order and one welcome e-mail; every order has its answer, has ended as it should, has one payment
 * that fits, and its e-mails; the payment provider holds the money of the paid orders and no other; each event was published, once
 * unless `duplicates` are allowed this time, always under one id and the correlation id of its request, and was taken once by
 * each that hears it; and there is nothing else: no further row, nothing in an outbox, parked, due, dead-lettered, unrouted or
 * left in a queue.
 */
export async function takeAccounts(
  system: Audited,
  { duplicates = false, asPriced = true, end = false, timeout = 30_000 }: AccountsOptions = {},
): Promise<Accounts> {
  const began = performance.now();
  const unanswered = system.ledger.filter(({ user }) => user === undefined);
  expect(
    unanswered.map((signUp) => `${signUp.email}, ${describeLast(signUp)}`),
    'sign-ups without a 201',
  ).to.deep.equal([]);
  const unplaced = system.orders.filter(({ order }) => order === undefined);
  expect(
    unplaced.map((placed) => `${placed.content.productName}, ${describeLast(placed)}`),
    'orders without a 201',
  ).to.deep.equal([]);

  const stateful = system.services.filter(isStateful);
  const books = stateful.map((service) => auditors[service] as Auditor);
  await eventually(
    async () => {
      for (const auditor of books) await auditor.settled(system);
      for (const service of stateful)
        expect(await count(system, service, 'warren.outbox'), `events in ${service}'s outbox`).to.equal(0);
    },
    { timeout, interval: 250 },
  );
  const settledAfter = performance.now() - began;
  if (end) for (const code of await system.end()) expect(code, 'exit code of a service').to.equal(0);

  const due: Due[] = [];
  for (const auditor of books) due.push(...(await auditor.check(system, { asPriced })));
  for (const queue of await system.recorder.otherQueues()) {
    await eventually(
      async () => expect(await system.broker.queueDepth(queue), `messages in ${queue}`).to.equal(0),
      { timeout },
    );
  }

  const recorded = await system.recorder.read();
  checkEvents(recorded, due);
  await eventually(
    async () => {
      for (const service of stateful) await checkInbox(system, service, recorded);
    },
    { timeout },
  );

  const repeated = recorded.length - due.length;
  const more = repeated - (repeatedBefore.get(system) ?? 0);
  repeatedBefore.set(system, repeated);
  if (!duplicates) expect(more, 'events published twice').to.equal(0);
  return { signUps: system.ledger.length, orders: system.orders.length, duplicates: more, settledAfter };
}

function checkEvents(recorded: readonly RecordedEvent[], due: readonly Due[]): void {
  const name = ({ type, about }: { type: string; about: string }) => `${type} ${about}`;
  expect(
    differences(unique(recorded.map(name)), due.map(name)),
    'events, by what they are about',
  ).to.deep.equal(none);
  for (const type of unique(due.map((each) => each.type))) {
    expect(
      unique(recorded.filter((event) => event.type === type).map(({ messageId }) => messageId)).length,
      `ids of events ${type}`,
    ).to.equal(due.filter((each) => each.type === type).length);
  }
  const known = new Map(due.map((each) => [name(each), each.correlationIds]));
  const mismatched = recorded.filter((event) => !known.get(name(event))?.includes(event.correlationId));
  expect(
    told(mismatched.map((event) => `${name(event)}: ${event.correlationId}, not ${known.get(name(event))}`)),
    'events without the correlation id of their request',
  ).to.deep.equal([]);
}

/** Each of a service's queues has been declared once, and all that came to it was taken once. */
async function checkInbox(system: Audited, service: Name, recorded: readonly RecordedEvent[]): Promise<void> {
  const queues = await system.sql<{ name: string }>(service, 'select name from warren.queues');
  const inbox = await system.sql<{ consumer: string; n: number }>(
    service,
    'select consumer, count(*)::int as n from warren.inbox group by consumer',
  );
  const taken = new Map(inbox.map(({ consumer, n }) => [consumer, n]));
  for (const { name } of queues) {
    const received = recorded.filter(({ type }) => name === `${service}.${type}`);
    expect(taken.get(name) ?? 0, `messages of ${name} in its inbox`).to.equal(
      unique(received.map(({ messageId }) => messageId)).length,
    );
  }
}
