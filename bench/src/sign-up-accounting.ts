// The accounts of sign-ups: each has its session, its welcome order, paid or cancelled, and its e-mails, all of them once.
import { query } from '@warren/testkit';
import { type Books, countBy, faultOf, leftoverFaults, readLeftovers, type Source } from './accounting.ts';

/** What sign-ups have left, as databases, broker and mail server have it. */
export interface SignUpBooks extends Pick<Books, 'leftovers' | 'queues'> {
  /** Ids */
  users: readonly string[];
  /** The user of each. */
  sessions: readonly string[];
  orders: readonly { id: string; userId: string; status: string }[];
  payments: readonly { id: string; orderId: string; status: string }[];
  /** `reference`: the id of what it is about. */
  emails: readonly { id: string; template: string; reference: string; status: string }[];
  /** Ids of the e-mails that the mail server has taken, repeats included. */
  mails: readonly string[];
}

export async function readSignUpBooks(source: Source, mails: readonly string[]): Promise<SignUpBooks> {
  const read = <Row extends object>(service: string, sql: string) =>
    query<Row>(source.databaseUrl(service), sql);
  const ids = (rows: { id: string }[]) => rows.map(({ id }) => id);
  return {
    users: ids(await read('user', 'select id from users')),
    sessions: ids(await read('session', 'select user_id as id from sessions')),
    orders: await read('order', 'select id, user_id as "userId", status from orders'),
    payments: await read('payment', 'select id, order_id as "orderId", status from payments'),
    emails: await read('email', 'select id, template, reference, status from emails'),
    mails,
    leftovers: await readLeftovers(source),
    queues: await source.queueDepths(),
  };
}

/** @param accepted ids of the users whose sign-up was answered 201 @returns what is wrong, a sentence each */
export function signUpFaults(books: SignUpBooks, accepted: readonly string[]): string[] {
  const { users, sessions, orders, payments, emails, mails } = books;
  const statuses = new Map(payments.map(({ orderId, status }) => [orderId, status]));
  const unpaid = orders.filter(({ id, status }) => status === 'paid' && statuses.get(id) !== 'processed');
  const open = orders.filter(({ status }) => status !== 'paid' && status !== 'cancelled');
  const pending = emails.filter(({ status }) => status !== 'sent');
  return [
    ...onceEach('users', accepted, users),
    ...onceEach('sessions', users, sessions),
    ...onceEach(
      'welcome orders',
      users,
      orders.map(({ userId }) => userId),
    ),
    ...faultOf(idsOf(open), 'orders are neither paid nor cancelled'),
    ...onceEach(
      'payments',
      idsOf(orders),
      payments.map(({ orderId }) => orderId),
    ),
    ...faultOf(idsOf(unpaid), 'orders are paid without a payment that is processed'),
    ...onceEach(
      'e-mails',
      wantedEmails(books),
      emails.map(({ template, reference }) => `${template} ${reference}`),
    ),
    ...faultOf(idsOf(pending), 'e-mails are not sent'),
    ...onceEach('e-mails at the mail server', idsOf(emails), mails),
    ...leftoverFaults(books),
  ];
}

function wantedEmails({ users, orders, payments }: SignUpBooks): string[] {
  return [
    ...users.map((id) => `welcome ${id}`),
    ...orders.map(({ id }) => `order-received ${id}`),
    ...orders
      .filter(({ status }) => status === 'paid' || status === 'cancelled')
      .map(({ id, status }) => `order-${status === 'paid' ? 'confirmed' : 'cancelled'} ${id}`),
    ...payments.filter(({ status }) => status === 'refunded').map(({ id }) => `payment-refunded ${id}`),
  ];
}

const idsOf = (rows: readonly { id: string }[]): string[] => rows.map(({ id }) => id);

/** What is missing, what is there more than once, and what should not be there at all. */
function onceEach(what: string, wanted: readonly string[], found: readonly string[]): string[] {
  const counts = countBy(found);
  const known = new Set(wanted);
  return [
    ...faultOf(
      wanted.filter((id) => !counts.has(id)),
      `${what} are lost`,
    ),
    ...faultOf(
      [...counts].filter(([, count]) => count > 1).map(([id]) => id),
      `${what} are there more than once`,
    ),
    ...faultOf(
      [...counts.keys()].filter((id) => !known.has(id)),
      `${what} belong to nothing`,
    ),
  ];
}
