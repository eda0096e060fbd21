// The accounts of a run: every order that was answered 201 is paid once, and nothing is left over.
import { query } from '@warren/testkit';
import { LAST_FILLER } from './fill.ts';
import type { ServiceName, System } from './systems.ts';

/** What a run has left, as databases and broker have it. */
export interface Books {
  orders: readonly { id: string; status: string }[];
  payments: readonly { orderId: string; status: string }[];
  /** Rows that should be gone: `order outbox`, `payment tasks`, … */
  leftovers: Readonly<Record<string, number>>;
  /** Messages in each queue that has any. */
  queues: Readonly<Record<string, number>>;
  /** Rows of Warren's inbox, where there is one. */
  inbox?: { order: number; payment: number };
}

export interface Expected {
  /** Ids of the orders that were answered 201. */
  accepted: readonly string[];
  /** Users that were signed up; the product gives each a welcome order. */
  signUps: number;
}

/** Where the books of a running system are. */
export interface Source {
  system: Pick<System, 'leftovers' | 'hasInbox'>;
  databaseUrl(service: ServiceName): string;
  queueDepths(): Promise<Record<string, number>>;
}

/** Copies of events that no service of the run consumes, such as `order.confirmed` without the email service. */
const UNROUTED = 'unrouted';

export async function readBooks(source: Source): Promise<Books> {
  const { system } = source;
  const count = async (service: ServiceName, sql: string) =>
    (await query<{ count: number }>(source.databaseUrl(service), sql))[0]?.count ?? 0;
  const ofRun = (column: string) => `where ${column} > '${LAST_FILLER}'`;
  const inbox = `select count(*)::int as count from warren.inbox ${ofRun('message_id')}`;
  return {
    orders: await query(source.databaseUrl('order'), `select id, status from orders ${ofRun('id')}`),
    payments: await query(
      source.databaseUrl('payment'),
      `select order_id as "orderId", status from payments ${ofRun('order_id')}`,
    ),
    leftovers: await readLeftovers(source),
    queues: await source.queueDepths(),
    ...(system.hasInbox && {
      inbox: { order: await count('order', inbox), payment: await count('payment', inbox) },
    }),
  };
}

/** What is wrong, a sentence each; none when nothing was lost and nothing was done twice. */
export function faultsOf(books: Books, { accepted, signUps }: Expected): string[] {
  const faults: string[] = [];
  const orders = new Map(books.orders.map(({ id, status }) => [id, status]));
  const payments = countBy(books.payments.map(({ orderId }) => orderId));
  const fault = (ids: readonly string[], what: string) => void faults.push(...faultOf(ids, what));
  const wanted = accepted.length + signUps;

  fault(
    accepted.filter((id) => !orders.has(id)),
    'orders were accepted and are lost',
  );
  fault(
    [...orders].filter(([, status]) => status !== 'paid').map(([id]) => id),
    'orders are not paid',
  );
  fault(
    [...orders.keys()].filter((id) => !payments.has(id)),
    'orders have no payment',
  );
  fault(
    [...payments].filter(([, count]) => count > 1).map(([id]) => id),
    'orders were paid more than once',
  );
  fault(
    [...payments.keys()].filter((id) => !orders.has(id)),
    'payments belong to no order',
  );
  fault(
    books.payments.filter(({ status }) => status !== 'processed').map(({ orderId }) => orderId),
    'payments are not processed',
  );
  if (orders.size !== wanted) faults.push(`there are ${orders.size} orders, and ${wanted} were placed`);
  faults.push(...leftoverFaults(books));
  if (books.inbox) faults.push(...inboxFaults(books.inbox, orders.size, signUps));
  return faults;
}

/** @returns one sentence about these ids; nothing when there are none */
export const faultOf = (ids: readonly string[], what: string): string[] =>
  ids.length > 0 ? [`${ids.length} ${what}, e.g. ${ids[0]}`] : [];

export function leftoverFaults({ leftovers, queues }: Pick<Books, 'leftovers' | 'queues'>): string[] {
  return [
    ...Object.entries(leftovers)
      .filter(([, count]) => count > 0)
      .map(([what, count]) => `${count} rows are left in ${what}`),
    ...Object.entries(queues)
      .filter(([queue]) => queue !== UNROUTED)
      .map(([queue, count]) => `${count} messages are left in the queue ${queue}`),
  ];
}

export async function readLeftovers(source: Source): Promise<Record<string, number>> {
  const leftovers: Record<string, number> = {};
  for (const { service, what, sql } of source.system.leftovers) {
    const [row] = await query<{ count: number }>(source.databaseUrl(service), sql);
    leftovers[`${service} ${what}`] = row?.count ?? 0;
  }
  return leftovers;
}

/** What is wrong with queues that should have these numbers of messages, and all others none. */
export function queueFaults(
  depths: Readonly<Record<string, number>>,
  wanted: Readonly<Record<string, number>>,
): string[] {
  return Object.keys({ ...wanted, ...depths })
    .filter((queue) => (depths[queue] ?? 0) !== (wanted[queue] ?? 0))
    .map((queue) => `the queue ${queue} has ${depths[queue] ?? 0} messages, not ${wanted[queue] ?? 0}`);
}

/** Order consumes a payment for each order and each sign-up; payment consumes each order. */
function inboxFaults(inbox: { order: number; payment: number }, orders: number, signUps: number): string[] {
  const wanted = { order: orders + signUps, payment: orders };
  return (['order', 'payment'] as const)
    .filter((service) => inbox[service] !== wanted[service])
    .map((service) => `the inbox of ${service} has ${inbox[service]} rows, not ${wanted[service]}`);
}

export function countBy(values: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}
