// Of one service with a database: what must be in it in the end, and what it must have told.
import type { TestBroker } from '@warren/testkit';
import type { Placed } from '../business.ts';
import type { EventRecorder } from '../event-recorder.ts';
import type { SignUp } from '../load.ts';
import type { Mailbox } from '../mailbox.ts';
import type { Name } from '../replica.ts';

/** The parts of a system that are audited. */
export interface Audited {
  services: readonly Name[];
  broker: TestBroker;
  sql<Row extends object = Record<string, unknown>>(
    service: Name,
    text: string,
    values?: unknown[],
  ): Promise<Row[]>;
  /** With `mail`: what has come to the mail server. */
  mailbox: Mailbox | undefined;
  /** Every event there was. */
  recorder: EventRecorder;
  /** Everybody who has signed up, or tried to. */
  ledger: SignUp[];
  /** Every order that was placed, or tried to, but for the welcome orders. */
  orders: Placed[];
  /** Sends a signal (default SIGTERM) to all that runs, and waits for the exit codes. */
  end(signal?: NodeJS.Signals): Promise<(number | null)[]>;
}

/** An event that must have been recorded. */
export interface Due {
  type: string;
  /** Id of the aggregate it is about. */
  about: string;
  /** Of the requests that can have led to it: one, but for what has waited for another. */
  correlationIds: readonly (string | undefined)[];
}

export interface Auditor {
  /** Asserts that nothing is under way. */
  settled(system: Audited): Promise<void>;
  /** Asserts that its rows are what the ledgers and the other services say, and no others; tells what it must have published. */
  check(system: Audited, options: { asPriced: boolean }): Promise<Due[]>;
}

export const count = async (system: Audited, service: Name, rows: string): Promise<number> =>
  (await system.sql<{ n: number }>(service, `select count(*)::int as n from ${rows}`))[0]?.n as number;

/** How many tasks there still are, by kind. */
export async function tasks(system: Audited, service: Name): Promise<Record<string, number>> {
  const kinds = await system.sql<{ kind: string; n: number }>(
    service,
    'select kind, count(*)::int as n from warren.tasks group by kind',
  );
  return Object.fromEntries(kinds.map(({ kind, n }) => [kind, n]));
}

export const userIds = (system: Audited): string[] => system.ledger.map(({ user }) => user?.id as string);

export interface Order {
  id: string;
  user_id: string;
  product_name: string;
  /** Minor units */
  price: number;
  currency: string;
  status: 'pending' | 'paid' | 'cancelled';
  reason: string | null;
  welcome: boolean;
}

export interface Payment {
  id: string;
  order_id: string;
  user_id: string;
  /** Minor units */
  amount: number;
  currency: string;
  status: 'pending' | 'processed' | 'failed' | 'refunded' | 'void';
}

export const ordersOf = (system: Audited): Promise<Order[]> => system.sql('order', 'select * from orders');

export const paymentsOf = (system: Audited): Promise<Payment[]> =>
  system.sql('payment', 'select * from payments');

/** Which request a user's or an order's events go back to: that of the user, for a welcome order. */
export function correlations(system: Audited, orders: readonly Order[] = []) {
  const users = new Map(system.ledger.map(({ user, correlationId }) => [user?.id, correlationId]));
  const placed = new Map(system.orders.map(({ order, correlationId }) => [order?.orderId, correlationId]));
  const owners = new Map(orders.map(({ id, user_id }) => [id, user_id]));
  return {
    ofUser: (id: string) => users.get(id),
    ofOrder: (id: string) => placed.get(id) ?? users.get(owners.get(id)),
  };
}
