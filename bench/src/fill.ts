// Rows that are there before a run: of a service that has been in use for a long time.
import { query } from '@warren/testkit';
import type { RunningSystem } from './running.ts';

/** Rows with ids up to this one were there before the run. */
export const LAST_FILLER = '00000000-0000-4000-8fff-ffffffffffff';

/** The id of row n. */
const ID = "('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid";
const ROWS = 'from generate_series(1, $1::int) n';

/** Inbox, tasks that are due in a month, and parked rows of the outbox, as the chassis has them. */
const chassis = (consumer: string, task: string, event: string): string[] => [
  `insert into warren.inbox (consumer, message_id) select '${consumer}', ${ID} ${ROWS}`,
  `insert into warren.tasks (kind, key, due_at, correlation_id)
   select '${task}', ${ID}::text, now() + interval '30 days', 'filler' ${ROWS}`,
  `insert into warren.outbox (event_id, type, routing_key, aggregate, body, correlation_id, parked_at, parked_reason)
   select ${ID}, '${event}', '${event}.v1', ${ID}::text, '{}', 'filler', now(), 'filler' ${ROWS}`,
];

/** By service; each takes the number of rows. */
const FILL: Record<string, readonly string[]> = {
  order: [
    `insert into users (user_id) select ${ID} ${ROWS}`,
    `insert into orders (id, user_id, product_name, price, currency, status, welcome, created_at)
     select ${ID}, ${ID}, 'Filler', 100, 'EUR', 'paid', false, now() ${ROWS}`,
    ...chassis('order.payment.processed', 'order.expire', 'order.created'),
  ],
  payment: [
    `insert into payments (id, order_id, user_id, amount, currency, status, created_at)
     select ${ID}, ${ID}, ${ID}, 100, 'EUR', 'processed', now() ${ROWS}`,
    ...chassis('payment.order.created', 'payment.charge', 'payment.processed'),
  ],
  user: [
    `insert into users (id, name, email, email_key, created_at)
     select ${ID}, 'Filler', 'filler-' || n || '@example.com', 'filler-' || n || '@example.com', now() ${ROWS}`,
  ],
};

/** Puts so many rows into every table of the product that grows. They are the first: ids of the chassis's rows are 1 to `rows`. */
export async function fillProduct(running: RunningSystem, rows: number): Promise<void> {
  for (const [service, statements] of Object.entries(FILL)) {
    for (const statement of statements) await query(running.databaseUrl(service), statement, [rows]);
    await query(running.databaseUrl(service), 'vacuum analyze');
  }
}
