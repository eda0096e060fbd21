// Audits the cluster at the end of a test: counts in the databases and on the broker, after any fault.
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { deployed, type Kube } from './kube.ts';
import type { Outcome } from './load.ts';

export const STATEFUL = ['user', 'session', 'order', 'payment', 'email'] as const;

/** Above it a payment is declined: the default of `PAYMENT_LIMIT`. */
const PAYMENT_LIMIT = 1_000;

/** Numbers that are counted in one database. */
type Counts = Record<string, number | string | null>;

interface AccountOptions {
  /** Where. Default: where `make deploy` deploys. */
  kube?: Kube;
  /** ms until nothing may be under way any more. Default 300,000. */
  timeout?: number;
}

/**
 * Waits until nothing is under way any more, then asserts that everybody of a load has one user, one session and one welcome order,
 * and the order that they placed, if they did; that there is nobody else of that name; that every order was settled once, which is
 * paid, and the provider has taken the money once, or cancelled where the payment was declined; that there is one e-mail, sent, for
 * each of these; and that nothing is left in an outbox or in a queue, dead letters included.
 *
 * @returns ms until everything had arrived
 */
export async function takeAccounts(
  { prefix, signUps }: Outcome,
  { kube = deployed, timeout = 300_000 }: AccountOptions = {},
): Promise<number> {
  const began = performance.now();
  const unanswered = signUps.filter(({ id }) => id === undefined);
  expect(
    unanswered.slice(0, 10).map(({ n, failures }) => `${prefix}-${n}: ${failures.at(-1)}`),
    `${unanswered.length} of ${signUps.length} sign-ups were never answered 201`,
  ).to.deep.equal([]);
  const ids = signUps.map(({ id }) => id as string);
  const n = ids.length;
  const placed = signUps.flatMap(({ order }) => order ?? []);
  const declined = placed.filter(({ price }) => price > PAYMENT_LIMIT).length;
  const ordered = n + placed.length;
  const paid = ordered - declined;
  const count = (service: string, numbers: Record<string, string>) => countOf(kube, service, ids, numbers);

  await eventually(
    async () => {
      for (const service of STATEFUL)
        expect(
          await kube.sql(service, 'select count(*) from warren.outbox'),
          `events in the outbox of ${service}`,
        ).to.equal('0\n');
      for (const [queue, messages] of await kube.queueDepths())
        if (queue !== 'unrouted') expect(messages, `messages in ${queue}`).to.equal(0);
      const orders = await count('order', { pending: "orders where status = 'pending'" });
      expect(orders, 'orders that are not decided').to.deep.equal({ pending: 0 });
      const emails = await count('email', { all: 'emails', pending: "emails where status <> 'sent'" });
      expect(emails, 'e-mails').to.deep.equal({ all: n + 2 * ordered, pending: 0 });
      expect(
        await kube.sql('payment', 'select count(*) from warren.tasks'),
        'payments that are under way',
      ).to.equal('0\n');
    },
    { timeout, interval: 1_000 },
  );
  const settledAfter = performance.now() - began;

  const users = await kube.sql(
    'user',
    `select count(*), count(*) filter (where id::text = any (string_to_array('${ids.join()}', ',')))
     from users where email like '${prefix}-%'`,
  );
  expect(users.trim(), 'users of that name, and those of them that a 201 told of').to.equal(`${n}|${n}`);

  expect(
    await count('session', { sessions: 'sessions', people: '(select distinct user_id from sessions) s' }),
  ).to.deep.equal({ sessions: n, people: n });

  const fingerprint = (column: string, table: string) =>
    `=select md5(string_agg(${column}::text, ',' order by ${column}::text)) from ${table} where user_id in (select id from ids)`;
  const { all, ...orders } = await count('order', {
    orders: 'orders',
    welcome: 'orders where welcome',
    paid: "orders where status = 'paid'",
    cancelled: "orders where status = 'cancelled'",
    people: '(select distinct user_id from orders) s',
    placed: `=select count(*) from orders where id::text = any (string_to_array('${placed.map(({ id }) => id).join()}', ','))`,
    all: fingerprint('id', 'orders'),
  });
  expect(orders, 'orders').to.deep.equal({
    ...{ orders: ordered, welcome: n, paid, cancelled: declined, people: n, placed: placed.length },
  });

  const { settled, charges, ...payments } = await count('payment', {
    payments: 'payments',
    processed: "payments where status = 'processed'",
    failed: "payments where status = 'failed'",
    settled: fingerprint('order_id', 'payments'),
    charges: `=select count(*) || ' of ' || count(distinct reference) from simulator.books
              where outcome = 'accepted' and kind = 'charge' and reference::text in
                (select order_id::text from payments where user_id in (select id from ids))`,
  });
  expect(payments, 'payments').to.deep.equal({ payments: ordered, processed: paid, failed: declined });
  expect(settled, 'the orders that have a payment are the orders there are').to.equal(all);
  expect(charges, "charges in the provider's books, of orders").to.equal(`${paid} of ${paid}`);

  // No two of one template are about the same: a constraint of the table.
  const templates = {
    welcome: n,
    'order-received': ordered,
    'order-confirmed': paid,
    'order-cancelled': declined,
  };
  expect(
    await count(
      'email',
      Object.fromEntries(
        Object.keys(templates).map((template) => [template, `emails where template = '${template}'`]),
      ),
    ),
    'e-mails of each kind',
  ).to.deep.equal(templates);
  return settledAfter;
}

/**
 * Counts rows that have a `user_id` of `ids`, all in one snapshot.
 *
 * @param numbers by name: a table and a condition; or, after `=`, a whole query
 */
async function countOf(
  { sql }: Kube,
  service: string,
  ids: readonly string[],
  numbers: Record<string, string>,
): Promise<Counts> {
  const queries = Object.entries(numbers).map(([name, rows]) => {
    const query = rows.startsWith('=')
      ? rows.slice(1)
      : `select count(*) from ${rows} ${/ where (?!.*\) s$)/.test(rows) ? 'and' : 'where'} user_id in (select id from ids)`;
    return `'${name}', (${query})`;
  });
  const output = await sql(
    service,
    `create temp table ids (id uuid primary key);\ncopy ids from stdin;\n${ids.join('\n')}\n\\.\nselect json_build_object(${queries.join(', ')});\n`,
  );
  return JSON.parse(output);
}
