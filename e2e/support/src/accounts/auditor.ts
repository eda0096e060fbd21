// Of one service with a database: what must be in it in the end, and what it must have told.
import type { Name } from '../replica.ts';
import type { System } from '../system.ts';

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
  settled(system: System): Promise<void>;
  /** Asserts that its rows are what the ledgers and the other services say, and no others; tells what it must have published. */
  check(system: System, options: { asPriced: boolean }): Promise<Due[]>;
}

export const count = async (system: System, service: Name, rows: string): Promise<number> =>
  (await system.sql<{ n: number }>(service, `select count(*)::int as n from ${rows}`))[0]?.n as number;

/** How many tasks there still are, by kind. */
export async function tasks(system: System, service: Name): Promise<Record<string, number>> {
  const kinds = await system.sql<{ kind: string; n: number }>(
    service,
    'select kind, count(*)::int as n from warren.tasks group by kind',
  );
  return Object.fromEntries(kinds.map(({ kind, n }) => [kind, n]));
}

export const userIds = (system: System): string[] => system.ledger.map(({ user }) => user?.id as string);

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

export const ordersOf = (system: System): Promise<Order[]> => system.sql('order', 'select * from orders');

export const paymentsOf = (system: System): Promise<Payment[]> =>
  system.sql('payment', 'select * from payments');

/** Which request a user's or an order's events go back to: that of the user, for a welcome order. */
export function correlations(system: System, orders: readonly Order[] = []) {
  const users = new Map(system.ledger.map(({ user, correlationId }) => [user?.id, correlationId]));
  const placed = new Map(system.orders.map(({ order, correlationId }) => [order?.orderId, correlationId]));
  const owners = new Map(orders.map(({ id, user_id }) => [id, user_id]));
  return {
    ofUser: (id: string) => users.get(id),
    ofOrder: (id: string) => placed.get(id) ?? users.get(owners.get(id)),
  };
}
