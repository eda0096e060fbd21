// Payments: an order is charged once, and refunded once if it is cancelled, in whatever order the two events arrive.
import {
  type Kysely,
  newId,
  type Page,
  type Paging,
  requireCursor,
  toPage,
  type WorkContext,
} from '@warren/chassis';
import {
  type Currency,
  fromMinorUnits,
  type OrderCancelled,
  type OrderCreated,
  type Payment,
  type PaymentProcessed,
  paymentFailed,
  paymentProcessed,
  paymentRefunded,
  toMinorUnits,
} from '@warren/contracts';
import type { PaymentConfig } from './config.ts';
import type { Charge, Outcome, Refund } from './provider.ts';
import type { SimulatorSchema } from './simulator.ts';

export type Status = Payment['status'];

export interface PaymentSchema extends SimulatorSchema {
  payments: {
    id: string;
    /** Unique: an order has one payment. */
    order_id: string;
    user_id: string;
    /** Minor units */
    amount: number;
    currency: Currency;
    status: Status;
    /** Why the provider declined the charge; only for failed payments. */
    decline_reason: string | null;
    /** Why the order was cancelled. Once it is set, a successful charge is refunded. */
    cancel_reason: string | null;
    created_at: Date;
  };
}

type Row = PaymentSchema['payments'];
type PaymentWork = WorkContext<PaymentSchema, PaymentConfig>;

/** The task that charges a payment; its key is the payment's id. */
export const CHARGE = 'payment.charge';
/** The task that refunds a payment; its key is the payment's id. */
export const REFUND = 'payment.refund';

/** The provider's idempotency key for the charge of a payment. */
const chargeKey = (id: string): string => `charge:${id}`;
const refundKey = (id: string): string => `refund:${id}`;

/** Creates the payment of a new order and schedules its charge. Does nothing if the payment exists or the order was cancelled before. */
export async function openPayment(work: PaymentWork, order: OrderCreated): Promise<void> {
  const row = await insert(work, order, { status: 'pending', cancel_reason: null });
  if (row === undefined) return;
  const { id, order_id: reference, amount, currency } = row;
  const charge: Charge = { key: chargeKey(id), reference, amount, currency };
  await work.schedule(CHARGE, { key: id, data: charge });
}

/**
 * Ensures that a cancelled order keeps no money. A charge that no worker has begun is voided; one in progress is refunded when it
 * succeeds; a processed one is refunded now.
 */
export async function cancelPayment(work: PaymentWork, order: OrderCancelled): Promise<void> {
  const { reason } = order;
  // The cancellation arrived before order.created, which then finds this row and does nothing.
  if ((await insert(work, order, { status: 'void', cancel_reason: reason })) !== undefined) return;

  const row = await lock(work, 'order_id', order.orderId);
  if (row === undefined || row.cancel_reason !== null) return;
  const { id } = row;
  if (row.status === 'pending') {
    const isVoid = await work.unschedule(CHARGE, id);
    await change(work, id, { cancel_reason: reason, ...(isVoid && { status: 'void' }) });
  } else if (row.status === 'processed') {
    await change(work, id, { cancel_reason: reason });
    await scheduleRefund(work, id);
  }
}

/** Stores the provider's decision about a charge, and emits it. */
export async function settleCharge(work: PaymentWork, id: string, answer: Outcome): Promise<void> {
  const row = await lock(work, 'id', id);
  if (row?.status !== 'pending') return;
  if (answer.outcome === 'declined') {
    const reason = reasonOf(answer.reason);
    await change(work, id, { status: 'failed', decline_reason: reason });
    await work.emit(paymentFailed, { ...factsOf(row), reason }, { aggregate: row.id });
    return;
  }
  await change(work, id, { status: 'processed' });
  await work.emit(paymentProcessed, factsOf(row), { aggregate: row.id });
  if (row.cancel_reason !== null) await scheduleRefund(work, id);
}

/** Stores that a payment was refunded, and emits `payment.refunded`. */
export async function settleRefund(work: PaymentWork, id: string): Promise<void> {
  const row = await lock(work, 'id', id);
  if (row?.status !== 'processed' || row.cancel_reason === null) return;
  await change(work, id, { status: 'refunded' });
  await work.emit(paymentRefunded, { ...factsOf(row), reason: row.cancel_reason }, { aggregate: row.id });
}

export async function findPayment(database: Kysely<PaymentSchema>, id: string): Promise<Payment | undefined> {
  const row = await database.selectFrom('payments').selectAll().where('id', '=', id).executeTakeFirst();
  return row && toPayment(row);
}

/** Payments of an order, of a user, or of both; oldest first. */
export async function paymentsOf(
  database: Kysely<PaymentSchema>,
  { orderId, userId, limit, after }: Paging & { orderId?: string; userId?: string },
): Promise<Page<Payment>> {
  const selected = database
    .selectFrom('payments')
    .selectAll()
    .$if(orderId !== undefined, (query) => query.where('order_id', '=', orderId as string))
    .$if(userId !== undefined, (query) => query.where('user_id', '=', userId as string));
  await requireCursor(after, (id) => selected.where('id', '=', id).executeTakeFirst());
  const rows = await selected
    .$if(after !== undefined, (query) => query.where('id', '>', after as string))
    .orderBy('id')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, toPayment);
}

/** The newest payments of a user, oldest first. */
export async function latestPayments(
  database: Kysely<PaymentSchema>,
  userId: string,
  limit: number,
): Promise<Payment[]> {
  const rows = await database
    .selectFrom('payments')
    .selectAll()
    .where('user_id', '=', userId)
    .orderBy('id', 'desc')
    .limit(limit)
    .execute();
  return rows.map(toPayment).reverse();
}

const insert = (
  work: PaymentWork,
  { orderId, userId, price, currency }: OrderCreated,
  state: Pick<Row, 'status' | 'cancel_reason'>,
): Promise<Row | undefined> =>
  work.transaction
    .insertInto('payments')
    .values({
      id: newId(),
      order_id: orderId,
      user_id: userId,
      amount: toMinorUnits(price),
      currency,
      decline_reason: null,
      created_at: work.now(),
      ...state,
    })
    .onConflict((conflict) => conflict.column('order_id').doNothing())
    .returningAll()
    .executeTakeFirst();

/** Locks a payment until this transaction ends. Every transition begins with it. */
const lock = (work: PaymentWork, column: 'id' | 'order_id', value: string): Promise<Row | undefined> =>
  work.transaction
    .selectFrom('payments')
    .selectAll()
    .where(column, '=', value)
    .forUpdate()
    .executeTakeFirst();

const change = (work: PaymentWork, id: string, to: Partial<Row>) =>
  work.transaction.updateTable('payments').set(to).where('id', '=', id).execute();

function scheduleRefund(work: PaymentWork, id: string): Promise<void> {
  const refund: Refund = { key: refundKey(id), charge: chargeKey(id) };
  return work.schedule(REFUND, { key: id, data: refund });
}

/** Makes a provider's text valid for events and the database: its wording must not make a decision fail. */
const reasonOf = (text: string): string =>
  text
    .replace(/\p{Cc}+/gu, ' ')
    .trim()
    .slice(0, 200)
    .toWellFormed() || 'declined';

const factsOf = (row: Row): PaymentProcessed => ({
  paymentId: row.id,
  orderId: row.order_id,
  userId: row.user_id,
  amount: fromMinorUnits(row.amount),
  currency: row.currency,
});

function toPayment(row: Row): Payment {
  const { paymentId: id, ...facts } = factsOf(row);
  const { status } = row;
  const reason =
    status === 'failed'
      ? row.decline_reason
      : status === 'refunded' || status === 'void'
        ? row.cancel_reason
        : null;
  return {
    id,
    ...facts,
    status,
    ...(reason !== null && { reason }),
    createdAt: row.created_at.toISOString(),
  };
}
