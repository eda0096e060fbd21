// What the provider would say in an audit: it knows nothing of the payment service's own tables.
import type { TestDatabase } from '@warren/testkit';

export interface Booked {
  kind: 'charge' | 'refund';
  outcome: 'accepted' | 'declined';
  reason: string | null;
  amount: number;
  currency: string;
  requests: number;
}

/** Of one order, in the order of booking. */
export const booksOf = (database: TestDatabase, orderId: string): Promise<Booked[]> =>
  database.admin<Booked>(
    `select kind, outcome, reason, amount, currency, requests from simulator.books
     where reference = $1 order by booked_at`,
    [orderId],
  );

/** Minor units by order: what was taken, less what was given back; and how many entries moved money. */
export async function balances(
  database: TestDatabase,
): Promise<Map<string, { balance: number; charges: number; refunds: number }>> {
  const rows = await database.admin<{ reference: string; balance: number; charges: number; refunds: number }>(
    `select reference, sum(case kind when 'charge' then amount else -amount end)::int as balance,
            count(*) filter (where kind = 'charge')::int as charges,
            count(*) filter (where kind = 'refund')::int as refunds
     from simulator.books where outcome = 'accepted' group by reference`,
  );
  return new Map(rows.map(({ reference, ...rest }) => [reference, rest]));
}
