// A simulated payment provider for development and tests. It moves no money, but keeps books in a schema of its own, so that keys
// are idempotent across replicas and restarts, and an audit can add up the charges.
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises';
import { type Generated, type Kysely, type Selectable, sql } from '@warren/chassis';
import type { PaymentConfig } from './config.ts';
import { type Charge, type Outcome, type PaymentProvider, ProviderError, type Refund } from './provider.ts';

export interface SimulatorSchema {
  'simulator.books': {
    /** The caller's idempotency key. */
    key: string;
    kind: 'charge' | 'refund';
    reference: string;
    /** Minor units, positive for charges and refunds */
    amount: number;
    currency: string;
    outcome: 'accepted' | 'declined';
    reason: string | null;
    /** Key of the refunded charge. */
    charge: string | null;
    /** Number of requests under this key; they have one effect. */
    requests: Generated<number>;
    booked_at: Generated<Date>;
  };
}

export type SimulatorSettings = Pick<
  PaymentConfig,
  'PAYMENT_LIMIT' | 'PROVIDER_LATENCY' | 'PROVIDER_FAILURE_RATE' | 'PROVIDER_TIMEOUT_RATE'
>;

/**
 * @param random 0 up to 1, as Math.random
 * @example
 * const provider = simulator(database, config);
 * await provider.charge({ key: 'charge:1', reference: orderId, amount: 100, currency: 'EUR' }, signal);
 */
export function simulator<Schema extends SimulatorSchema>(
  database: Kysely<Schema>,
  settings: SimulatorSettings,
  random: () => number = Math.random,
): PaymentProvider {
  const books = database as unknown as Kysely<SimulatorSchema>;
  const bookCharge = grouped<Charge, Booked>(
    (charges) => bookCharges(books, charges, settings.PAYMENT_LIMIT),
    ({ key }) => key,
  );

  async function answer<T>(signal: AbortSignal, book: () => Promise<T>): Promise<T> {
    await wait(settings.PROVIDER_LATENCY, undefined, { signal });
    if (random() < settings.PROVIDER_FAILURE_RATE)
      throw new ProviderError('provider_unavailable', 'The provider returned an error; no money was moved.');
    const lost = random() < settings.PROVIDER_TIMEOUT_RATE;
    const result = lost && random() < 0.5 ? undefined : await book();
    if (lost)
      throw new ProviderError(
        'provider_timeout',
        'The provider did not respond; the money may or may not have been moved.',
      );
    return result as T;
  }

  return {
    charge: (charge, signal) => answer(signal, async () => decisionOf(charge, await bookCharge(charge))),
    refund: (refund, signal) => answer(signal, () => bookRefund(books, refund)),
  };
}

// A repeated request finds the entry under its key, and increments its counter.
const repeated = sql<number>`books.requests + 1`;

type Booked = Selectable<SimulatorSchema['simulator.books']>;

/** Groups the requests of one turn of the event loop into one statement, so that the simulator costs no more than a remote provider. */
function grouped<Request, Result>(
  run: (requests: readonly Request[]) => Promise<ReadonlyMap<string, Result>>,
  keyOf: (request: Request) => string,
): (request: Request) => Promise<Result> {
  let next: { requests: Map<string, Request>; results: Promise<ReadonlyMap<string, Result>> } | undefined;
  return async (request) => {
    const key = keyOf(request);
    // A statement cannot change one row twice.
    if (next?.requests.has(key)) next = undefined;
    if (next === undefined) {
      const requests = new Map<string, Request>();
      const group = { requests, results: turn().then(() => run([...requests.values()])) };
      next = group;
      turn().then(() => {
        if (next === group) next = undefined;
      });
    }
    next.requests.set(key, request);
    return (await next.results).get(key) as Result;
  };
}

async function bookCharges(
  books: Kysely<SimulatorSchema>,
  charges: readonly Charge[],
  limit: number,
): Promise<ReadonlyMap<string, Booked>> {
  const of = (column: (charge: Charge) => unknown) => charges.map(column);
  const { rows } = await sql<Booked>`
    insert into simulator.books (key, kind, reference, amount, currency, outcome, reason)
    select key, 'charge', reference, amount, currency,
           case when amount > ${limit} then 'declined' else 'accepted' end,
           case when amount > ${limit} then 'limit_exceeded' end
    from unnest(${of(({ key }) => key)}::text[], ${of(({ reference }) => reference)}::text[],
                ${of(({ amount }) => amount)}::integer[], ${of(({ currency }) => currency)}::text[])
      as charge (key, reference, amount, currency)
    order by key
    on conflict (key) do update set requests = ${repeated}
    returning *`.execute(books);
  return new Map(rows.map((row) => [row.key, row]));
}

function decisionOf({ key, reference, amount, currency }: Charge, booked: Booked): Outcome {
  const same =
    booked.kind === 'charge' &&
    booked.reference === reference &&
    booked.amount === amount &&
    booked.currency === currency;
  if (!same)
    throw new ProviderError(
      'provider_refused',
      `The key ${key} was used for a different request; use a new key.`,
    );
  return booked.reason === null ? { outcome: 'accepted' } : { outcome: 'declined', reason: booked.reason };
}

async function bookRefund(books: Kysely<SimulatorSchema>, { key, charge }: Refund): Promise<void> {
  const { rows } = await sql<{ charge: string | null }>`
    insert into simulator.books (key, kind, reference, amount, currency, outcome, charge)
    select ${key}, 'refund', reference, amount, currency, 'accepted', key
      from simulator.books where key = ${charge} and kind = 'charge' and outcome = 'accepted'
      -- Serializes refunds of one charge: with two unique indexes they could deadlock.
      for update
    on conflict (key) do update set requests = ${repeated}
    returning charge`
    .execute(books)
    .catch((cause) => {
      if (cause.constraint !== 'books_one_refund_per_charge') throw cause;
      const message = `The charge ${charge} was already refunded under another key.`;
      throw new ProviderError('provider_refused', message, { cause });
    });
  if (rows.length === 0)
    throw new ProviderError(
      'provider_refused',
      `No money was charged under ${charge}, so nothing can be refunded.`,
    );
  if (rows[0]?.charge !== charge)
    throw new ProviderError(
      'provider_refused',
      `The key ${key} was used for a different request; use a new key.`,
    );
}
