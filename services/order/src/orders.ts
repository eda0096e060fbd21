// Orders: placed for a known user, pending until the payment, and finally paid or cancelled.
import {
  type CounterDefinition,
  type Kysely,
  newId,
  type Page,
  type Paging,
  requireCursor,
  sql,
  toPage,
  type WorkContext,
} from '@warren/chassis';
import {
  type Currency,
  fromMinorUnits,
  type Order,
  type OrderCreated,
  orderCancelled,
  orderConfirmed,
  orderCreated,
  type PaymentProcessed,
  toMinorUnits,
} from '@warren/contracts';
import type { OrderConfig } from './config.ts';
import { type SagaEvent, type Status, transitions } from './saga.ts';

export interface OrderSchema {
  /** This service's copy of the users that exist. */
  users: { user_id: string };
  orders: {
    id: string;
    user_id: string;
    product_name: string;
    /** Minor units */
    price: number;
    currency: Currency;
    status: Status;
    /** Why the order was cancelled; otherwise null. */
    reason: string | null;
    /** The welcome order of a sign-up: unique by user. */
    welcome: boolean;
    created_at: Date;
  };
}

type Row = OrderSchema['orders'];
type OrderWork = WorkContext<OrderSchema, OrderConfig>;

export interface NewOrder {
  /** Chosen by the client, so that it can repeat a request without placing a second order. */
  orderId?: string;
  userId: string;
  productName: string;
  /** Minor units */
  price: number;
  currency: Currency;
}

/** `repeated`: this order was placed before under this id; `taken`: a different order has this id. */
export type Placed = { outcome: 'placed' | 'repeated'; order: Order } | { outcome: 'user_unknown' | 'taken' };

/** The task that cancels an unpaid order; its key is the order's id. */
export const EXPIRE = 'order.expire';

/** Counts events that the saga's table refuses. */
export const refusals: CounterDefinition<{ status: Status | 'unknown'; event: SagaEvent }> = {
  name: 'order_transitions_refused_total',
  help: 'Events that the order saga refuses in that status; unknown: the order does not exist.',
  labels: {
    status: ['pending', 'paid', 'cancelled', 'unknown'],
    event: ['payment.processed', 'payment.failed', 'payment.refunded', 'timeout'],
  },
};

type PaymentEvent = Exclude<SagaEvent, 'timeout'>;

/** Counts payments whose amount, currency or user differs from their order. */
export const unfitPayments: CounterDefinition<{ event: PaymentEvent }> = {
  name: 'order_payments_unfit_total',
  help: 'Payment events whose amount, currency or user differs from the order; the order is not changed.',
  labels: { event: ['payment.processed', 'payment.failed', 'payment.refunded'] },
};

/** Places an order and emits `order.created`, once for each `orderId`. */
export async function placeOrder(work: OrderWork, wanted: NewOrder): Promise<Placed> {
  const { transaction } = work;
  const user = await transaction
    .selectFrom('users')
    .select('user_id')
    .where('user_id', '=', wanted.userId)
    .executeTakeFirst();
  if (user === undefined) return { outcome: 'user_unknown' };

  const id = wanted.orderId ?? newId();
  const placed = await insertOrder(work, { ...wanted, orderId: id }, { welcome: false });
  if (placed !== undefined) return { outcome: 'placed', order: toOrder(placed) };

  const earlier = await transaction
    .selectFrom('orders')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirstOrThrow();
  return isSame(earlier, wanted) ? { outcome: 'repeated', order: toOrder(earlier) } : { outcome: 'taken' };
}

/** Stores a user who signed up, and places the welcome order. Idempotent. */
export async function welcomeUser(work: OrderWork, userId: string): Promise<void> {
  await work.transaction
    .insertInto('users')
    .values({ user_id: userId })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const { WELCOME_PRODUCT: productName, WELCOME_PRICE: price } = work.config;
  const welcome = { orderId: newId(), userId, productName, price, currency: 'EUR' as const };
  await insertOrder(work, welcome, { welcome: true });
}

/** @returns undefined when an order with that id, or the user's welcome order, exists */
async function insertOrder(
  work: OrderWork,
  order: Required<NewOrder>,
  { welcome }: { welcome: boolean },
): Promise<Row | undefined> {
  const createdAt = work.now();
  const row = await work.transaction
    .insertInto('orders')
    .values({
      id: order.orderId,
      user_id: order.userId,
      product_name: order.productName,
      price: order.price,
      currency: order.currency,
      status: 'pending',
      welcome,
      created_at: createdAt,
    })
    .onConflict((conflict) => conflict.doNothing())
    .returningAll()
    .executeTakeFirst();
  if (row === undefined) return undefined;

  await work.emit(orderCreated, factsOf(row), { aggregate: row.id });
  const at = new Date(createdAt.getTime() + work.config.PAYMENT_TIMEOUT);
  await work.schedule(EXPIRE, { key: row.id, at });
  return row;
}

/**
 * Applies a payment event to its order. A payment whose amount, currency or user differs from the order changes nothing, and is
 * logged and counted.
 * @param reason of a cancellation; default: the event's type
 */
export async function settlePayment(
  work: OrderWork,
  payment: Omit<PaymentProcessed, 'paymentId'>,
  event: PaymentEvent,
  reason?: string,
): Promise<void> {
  const { orderId, userId, amount, currency } = payment;
  const row = await lockOrder(work, orderId);
  const fits =
    row === undefined ||
    (row.price === toMinorUnits(amount) && row.currency === currency && row.user_id === userId);
  if (fits) return advance(work, orderId, row, event, reason);

  work.count(refusals, { status: row.status, event });
  work.count(unfitPayments, { event });
  work.log.warn(
    {
      code: 'payment_unfit',
      orderId,
      status: row.status,
      event,
      order: { amount: fromMinorUnits(row.price), currency: row.currency, userId: row.user_id },
      payment: { amount, currency, userId },
    },
    'payment does not match its order; order not changed',
  );
}

/**
 * Takes an order one step through its saga, and emits the event of the transition. A step that the table refuses is logged and
 * counted but not thrown, because a retry would fail again.
 * @param row the order, locked; undefined when it does not exist
 * @param reason of a cancellation; default: the event's type
 */
async function advance(
  work: OrderWork,
  orderId: string,
  row: Row | undefined,
  event: SagaEvent,
  reason: string = event,
): Promise<void> {
  const transition = row && transitions[row.status][event];
  if (row === undefined || transition === undefined) {
    const status = row?.status ?? 'unknown';
    work.count(refusals, { status, event });
    work.log.warn(
      { code: 'transition_refused', orderId, status, event },
      'event refused by the order saga; order not changed',
    );
    return;
  }
  if (transition.to === row.status) return;

  await work.transaction
    .updateTable('orders')
    .set({ status: transition.to, reason: transition.to === 'cancelled' ? reason : null })
    .where('id', '=', row.id)
    .execute();
  work.discard(EXPIRE, row.id);
  const aggregate = { aggregate: row.id };
  if (transition.emits === 'order.confirmed') await work.emit(orderConfirmed, factsOf(row), aggregate);
  if (transition.emits === 'order.cancelled')
    await work.emit(orderCancelled, { ...factsOf(row), reason }, aggregate);
}

/**
 * Cancels an order that timed out. A payment cannot arrive while the broker is unavailable, so PAYMENT_TIMEOUT starts again when
 * the broker has recovered: an outage never cancels an order.
 */
export async function expireOrder(work: OrderWork, orderId: string): Promise<void> {
  const { PAYMENT_TIMEOUT } = work.config;
  const now = work.now().getTime();
  const connectedSince = work.brokerSince?.getTime() ?? now;
  const row = await lockOrder(work, orderId);
  if (now - connectedSince >= PAYMENT_TIMEOUT)
    return advance(work, orderId, row, 'timeout', 'payment_timeout');
  if (row?.status === 'pending')
    await work.schedule(EXPIRE, { key: orderId, at: new Date(connectedSince + PAYMENT_TIMEOUT) });
}

/** Locks an order before its events are emitted, so that they are published in the order of their commits. */
const lockOrder = ({ transaction }: OrderWork, id: string): Promise<Row | undefined> =>
  transaction.selectFrom('orders').selectAll().where('id', '=', id).forUpdate().executeTakeFirst();

export async function findOrder(database: Kysely<OrderSchema>, id: string): Promise<Order | undefined> {
  const row = await database.selectFrom('orders').selectAll().where('id', '=', id).executeTakeFirst();
  return row && toOrder(row);
}

/** Oldest first, by time of creation: clients choose the ids, so ids are not ordered. */
export async function ordersOf(
  database: Kysely<OrderSchema>,
  userId: string,
  { limit, after }: Paging,
): Promise<Page<Order>> {
  const own = database.selectFrom('orders').selectAll().where('user_id', '=', userId);
  await requireCursor(after, (id) => own.where('id', '=', id).executeTakeFirst());
  const rows = await own
    .$if(after !== undefined, (query) =>
      query.where(sql<boolean>`(created_at, id) > (select created_at, id from orders where id = ${after})`),
    )
    .orderBy('created_at')
    .orderBy('id')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, toOrder);
}

/** The newest orders of a user, oldest first. */
export async function latestOrders(
  database: Kysely<OrderSchema>,
  userId: string,
  limit: number,
): Promise<Order[]> {
  const rows = await database
    .selectFrom('orders')
    .selectAll()
    .where('user_id', '=', userId)
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(limit)
    .execute();
  return rows.map(toOrder).reverse();
}

const isSame = (row: Row, wanted: NewOrder): boolean =>
  row.user_id === wanted.userId &&
  row.product_name === wanted.productName &&
  row.price === wanted.price &&
  row.currency === wanted.currency;

/** The data that every event about an order carries. */
const factsOf = (row: Row): OrderCreated => ({
  orderId: row.id,
  userId: row.user_id,
  productName: row.product_name,
  price: fromMinorUnits(row.price),
  currency: row.currency,
});

const toOrder = (row: Row): Order => ({
  ...factsOf(row),
  status: row.status,
  createdAt: row.created_at.toISOString(),
});
