import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import { queueFaults } from '../src/accounting.ts';
import { type SignUpBooks, signUpFaults } from '../src/sign-up-accounting.ts';

describe('the accounts of sign-ups', () => {
  const accepted = Array.from({ length: 3 }, () => randomUUID());
  const [first = ''] = accepted;
  /** Each user's order is paid; the ids of all things of a user are the user's. */
  const sound: SignUpBooks = {
    users: accepted,
    sessions: accepted,
    orders: accepted.map((id) => ({ id, userId: id, status: 'paid' })),
    payments: accepted.map((id) => ({ id, orderId: id, status: 'processed' })),
    emails: ['welcome', 'order-received', 'order-confirmed'].flatMap((template) =>
      accepted.map((reference) => ({ id: `${template} ${reference}`, template, reference, status: 'sent' })),
    ),
    mails: [],
    leftovers: { 'order outbox': 0 },
    queues: { unrouted: 3 },
  };
  const faults = (change: Partial<SignUpBooks> = {}) => {
    const books = { ...sound, ...change };
    const mails = change.mails ?? books.emails.map(({ id }) => id);
    return signUpFaults({ ...books, mails }, accepted);
  };
  const without = <Row>(rows: readonly Row[]) => rows.slice(1);
  const doubled = <Row>(rows: readonly Row[]) => [...rows, ...rows.slice(0, 1)];

  it('finds nothing where each has all of its own once', () => {
    expect(faults()).to.deep.equal([]);
  });

  it('finds nothing where an order was cancelled and its payment refunded', () => {
    const refund = { id: 'refund', template: 'payment-refunded', reference: first, status: 'sent' };
    const cancelled = sound.emails.map((email) =>
      email.template === 'order-confirmed' && email.reference === first
        ? { ...email, template: 'order-cancelled' }
        : email,
    );
    expect(
      faults({
        orders: sound.orders.map((order) => (order.id === first ? { ...order, status: 'cancelled' } : order)),
        payments: sound.payments.map((each) => (each.id === first ? { ...each, status: 'refunded' } : each)),
        emails: [...cancelled, refund],
      }),
    ).to.deep.equal([]);
  });

  it('finds a user, a session, an order and a payment that are lost', () => {
    expect(faults({ users: without(accepted) })).to.include(`1 users are lost, e.g. ${first}`);
    expect(faults({ sessions: without(accepted) })).to.deep.equal([`1 sessions are lost, e.g. ${first}`]);
    expect(faults({ orders: without(sound.orders) })).to.include(`1 welcome orders are lost, e.g. ${first}`);
    expect(faults({ payments: without(sound.payments) })).to.deep.equal([
      `1 payments are lost, e.g. ${first}`,
      `1 orders are paid without a payment that is processed, e.g. ${first}`,
    ]);
  });

  it('finds a session, an order and a payment that are there twice', () => {
    expect(faults({ sessions: doubled(accepted) })).to.deep.equal([
      `1 sessions are there more than once, e.g. ${first}`,
    ]);
    expect(faults({ orders: doubled(sound.orders) })).to.include(
      `1 welcome orders are there more than once, e.g. ${first}`,
    );
    expect(faults({ payments: doubled(sound.payments) })).to.deep.equal([
      `1 payments are there more than once, e.g. ${first}`,
    ]);
  });

  it('finds a user who did not sign up', () => {
    const other = randomUUID();
    expect(faults({ users: [...accepted, other] })).to.include(`1 users belong to nothing, e.g. ${other}`);
  });

  it('finds an order that is not settled', () => {
    const [order, ...others] = sound.orders;
    const open = { ...order, id: first, userId: first, status: 'pending' };
    expect(faults({ orders: [open, ...others] })).to.include(
      `1 orders are neither paid nor cancelled, e.g. ${first}`,
    );
  });

  it('finds an e-mail that is lost, one that was written twice, and one that was not sent', () => {
    const welcome = `welcome ${first}`;
    expect(faults({ emails: without(sound.emails) })).to.deep.equal([`1 e-mails are lost, e.g. ${welcome}`]);
    const again = { id: 'again', template: 'welcome', reference: first, status: 'sent' };
    expect(faults({ emails: [...sound.emails, again] })).to.deep.equal([
      `1 e-mails are there more than once, e.g. ${welcome}`,
    ]);
    const [email, ...others] = sound.emails;
    const unsent = { ...again, ...email, status: 'pending' };
    expect(faults({ emails: [unsent, ...others] })).to.deep.equal([
      `1 e-mails are not sent, e.g. ${welcome}`,
    ]);
  });

  it('finds an e-mail that the mail server did not get, and one that it got twice', () => {
    const mails = sound.emails.map(({ id }) => id);
    expect(faults({ mails: without(mails) })).to.deep.equal([
      `1 e-mails at the mail server are lost, e.g. ${mails[0]}`,
    ]);
    expect(faults({ mails: doubled(mails) })).to.deep.equal([
      `1 e-mails at the mail server are there more than once, e.g. ${mails[0]}`,
    ]);
  });

  it('finds rows and messages that are left over', () => {
    expect(faults({ leftovers: { 'order outbox': 1 }, queues: { 'email.order.created': 2 } })).to.deep.equal([
      '1 rows are left in order outbox',
      '2 messages are left in the queue email.order.created',
    ]);
  });
});

describe('the accounts of messages alone', () => {
  it('finds nothing where each queue has what it should have', () => {
    expect(queueFaults({ sink: 10 }, { sink: 10 })).to.deep.equal([]);
    expect(queueFaults({}, {})).to.deep.equal([]);
  });

  it('finds a message that is lost, one that is there twice, and one that was not consumed', () => {
    expect(queueFaults({ sink: 9 }, { sink: 10 })).to.deep.equal(['the queue sink has 9 messages, not 10']);
    expect(queueFaults({ sink: 11 }, { sink: 10 })).to.deep.equal(['the queue sink has 11 messages, not 10']);
    expect(queueFaults({ 'payment.order.created': 1 }, {})).to.deep.equal([
      'the queue payment.order.created has 1 messages, not 0',
    ]);
  });
});
