// What a payment is: taken once for an order, and given back once when that order is cancelled, in whatever order the two are heard.
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
    /** An order is paid once: unique. */
    order_id: string;
    user_id: string;
    /** Minor units */
    amount: number;
    currency: Currency;
    status: Status;
    /** Why the provider refused; of a failed payment alone. */
    decline_reason: string | null;
    /** Why the order was cancelled, from when that was heard; what is taken under it goes back. */
    cancel_reason: string | null;
    created_at: Date;
  };
}

type Row = PaymentSchema['payments'];
type PaymentWork = WorkContext<PaymentSchema, PaymentConfig>;

/** The task that asks the provider for the money; its key is the payment's id. */
export const CHARGE = 'payment.charge';
/** The task that gives it back; its key is the payment's id. */
export const REFUND = 'payment.refund';

/** What the provider knows the charge of a payment by. */
const chargeKey = (id: string): string => `charge:${id}`;
const refundKey = (id: string): string => `refund:${id}`;

/** Makes the payment for a new order and has it charged; does nothing when there is one, or when the order was cancelled before. */
export async function openPayment(work: PaymentWork, order: OrderCreated): Promise<void> {
  const row = await insert(work, order, { status: 'pending', cancel_reason: null });
  if (row === undefined) return;
  const { id, order_id: reference, amount, currency } = row;
  const charge: Charge = { key: chargeKey(id), reference, amount, currency };
  await work.schedule(CHARGE, { key: id, data: charge });
}

/**
 * Sees to it that a cancelled order keeps no money: what no worker has begun to charge never is, what is being charged is
 * given back as soon as that is over, and so is what was charged.
 */
export async function cancelPayment(work: PaymentWork, order: OrderCancelled): Promise<void> {
  const { reason } = order;
  // Before its order.created: that one will find this row, and leave it.
  if ((await insert(work, order, { status: 'void', cancel_reason: reason })) !== undefined) return;

  const row = await lock(work, 'order_id', order.orderId);
  if (row === undefined || row.cancel_reason !== null) return;
  const { id } = row;
  if (row.status === 'pending') {
    const untouched = await work.unschedule(CHARGE, id);
    await change(work, id, { cancel_reason: reason, ...(untouched && { status: 'void' }) });
  } else if (row.status === 'processed') {
    await change(work, id, { cancel_reason: reason });
    await giveBack(work, id);
  }
}

/** Writes down what the provider said to a charge. */
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
  if (row.cancel_reason !== null) await giveBack(work, id);
}

/** Writes down that the money went back. */
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

/** Of an order, of a user, or of both; oldest first. */
export async function paymentsOf(
  database: Kysely<PaymentSchema>,
  { orderId, userId, limit, after }: Paging & { orderId?: string; userId?: string },
): Promise<Page<Payment>> {
  const asked = database
    .selectFrom('payments')
    .selectAll()
    .$if(orderId !== undefined, (query) => query.where('order_id', '=', orderId as string))
    .$if(userId !== undefined, (query) => query.where('user_id', '=', userId as string));
  await requireCursor(after, (id) => asked.where('id', '=', id).executeTakeFirst());
  const rows = await asked
    .$if(after !== undefined, (query) => query.where('id', '>', after as string))
    .orderBy('id')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, toPayment);
}

/** The newest ones of a user, oldest first. */
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

/** The row, kept from all others until this transaction ends: every transition begins with it. */
const lock = (work: PaymentWork, column: 'id' | 'order_id', value: string): Promise<Row | undefined> =>
  work.transaction
    .selectFrom('payments')
    .selectAll()
    .where(column, '=', value)
    .forUpdate()
    .executeTakeFirst();

const change = (work: PaymentWork, id: string, to: Partial<Row>) =>
  work.transaction.updateTable('payments').set(to).where('id', '=', id).execute();

function giveBack(work: PaymentWork, id: string): Promise<void> {
  const refund: Refund = { key: refundKey(id), charge: chargeKey(id) };
  return work.schedule(REFUND, { key: id, data: refund });
}

/** What a provider says in its own words, as an event and the database can carry it: a decision must not fail for its wording. */
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
