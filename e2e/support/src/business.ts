// Sign-ups and orders by a fixed number of clients, each of whom waits for the answer and repeats what failed.
import { setTimeout as wait } from 'node:timers/promises';
import { createClient, type HttpClient } from './http.ts';
import { newSignUp, PATHS, type SignUp, signUpUntilAnswered } from './load.ts';
import { type Attempt, attempt, isTransient, type PendingRequest, retry } from './pending-request.ts';
import { type Random, seeded } from './random.ts';
import type { Authorize } from './tokens.ts';

/** The default of the payment service, in any currency. */
export const PAYMENT_LIMIT = 1_000;

/** One order that somebody wants to place, however often that takes. */
export interface Placed extends PendingRequest {
  content: { userId: string; productName: string; price: number; currency?: string; orderId?: string };
  /** The body of the first 201 or 200. */
  order?: { orderId: string; userId: string; productName: string; price: number; currency: string };
}

export interface BusinessOptions {
  signUps: number;
  orders: number;
  /** Clients at once. */
  concurrency: number;
  seed: number;
  /** The base URL to send to; asked before each request. */
  target: () => string;
  /** How many of the orders cost more than the limit, 0 to 1. */
  tooDear: number;
  /** Nobody begins anything new while this says so. */
  hold?: () => boolean;
  authorize?: Authorize;
  /** Every one is added to these as it begins. */
  ledger: SignUp[];
  orderLedger: Placed[];
}

export interface Business {
  /** Sign-ups and orders that have their answer. */
  done: number;
  /** How many there will be. */
  total: number;
  /** Resolves when all have their answer. */
  finished: Promise<void>;
  /** Sends nothing more, and waits for nothing. */
  abandon(): void;
}

export function startBusiness(options: BusinessOptions): Business {
  const {
    signUps,
    orders,
    concurrency,
    seed,
    target,
    tooDear,
    hold = () => false,
    ledger,
    orderLedger,
  } = options;
  const random = seeded(seed);
  const client = createClient(options.authorize);
  const abandoned = new AbortController();
  const customers: string[] = [];
  const begun = { signUps: 0, orders: 0 };

  const signUp = async () => {
    const id = `${seed}-${begun.signUps++}`;
    const one = newSignUp(id, random.pick(PATHS), true);
    ledger.push(one);
    await signUpUntilAnswered(client, one, target, performance.now(), abandoned.signal);
    if (one.user !== undefined) customers.push(one.user.id);
  };
  const order = async () => {
    const one = newOrder(`${seed}-${begun.orders++}`, random.pick(customers), random, tooDear);
    orderLedger.push(one);
    await orderSurely(client, one, target, abandoned.signal);
  };
  const work = async () => {
    while (!abandoned.signal.aborted) {
      if (hold()) {
        await wait(50);
        continue;
      }
      const moreSignUps = begun.signUps < signUps;
      const moreOrders = begun.orders < orders;
      if (!moreSignUps && !moreOrders) return;
      const ahead = begun.signUps * orders <= begun.orders * signUps;
      if (moreSignUps && (ahead || !moreOrders || customers.length === 0)) await signUp();
      else if (customers.length > 0) await order();
      else return; // nobody could sign up: the accounts will say so
      business.done += 1;
    }
  };

  const business: Business = {
    done: 0,
    total: signUps + orders,
    finished: Promise.resolve(),
    abandon() {
      abandoned.abort();
      client.close();
    },
  };
  business.finished = Promise.all(Array.from({ length: concurrency }, work)).then(() => client.close());
  return business;
}

/** One order, of its own, placed when the order service knows its user; entered into the ledger. */
export async function orderOnce(
  client: HttpClient,
  ledger: Placed[],
  url: string,
  options: { id: string; content: Placed['content']; headers?: Record<string, string> },
): Promise<Placed> {
  const { id, content, headers } = options;
  const one: Placed = {
    path: '/orders',
    content,
    correlationId: `e2e-order-${id}`,
    key: `order-${id}`,
    attempts: [],
  };
  if (headers?.['x-correlation-id'] !== undefined) one.correlationId = headers['x-correlation-id'];
  ledger.push(one);
  await orderSurely(client, one, () => url, new AbortController().signal, headers);
  return one;
}

/** By its Idempotency-Key, by an id of its own, or both: each makes it safe to repeat. */
function newOrder(id: string, userId: string, random: Random, tooDear: number): Placed {
  const cents = random.next() < tooDear ? random.between(100_001, 500_000) : random.between(0, 100_001);
  const safety = random.pick(['key', 'id', 'both']);
  return {
    path: '/orders',
    content: {
      userId,
      productName: `Thing ${id}`,
      price: Math.floor(cents) / 100,
      currency: random.pick(['EUR', 'USD', 'GBP']),
      ...(safety !== 'key' && { orderId: uuid(random) }),
    },
    correlationId: `e2e-order-${id}`,
    ...(safety !== 'id' && { key: `order-${id}` }),
    attempts: [],
  };
}

const orderSurely = (
  client: HttpClient,
  one: Placed,
  target: () => string,
  abandoned: AbortSignal,
  headers?: Record<string, string>,
): Promise<void> =>
  retry(
    async (from) => {
      const made = await attempt(client, one, one.content, target(), from, headers);
      if (made.answer?.status === 201 || made.answer?.status === 200) one.order ??= made.answer.body;
      return made;
    },
    (last) => isTransient(last) || isTooEarly(last),
    performance.now(),
    abandoned,
  );

/** A sign-up whose event the order service has not consumed yet. */
const isTooEarly = ({ answer }: Attempt): boolean =>
  answer?.status === 404 && answer.body.code === 'user_unknown';

function uuid(random: Random): string {
  const hex = Array.from({ length: 32 }, () => Math.floor(random.next() * 16).toString(16));
  hex[12] = '4';
  hex[16] = '8';
  return hex.join('').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
