// What must be true in the end, whatever was broken on the way: counted in the databases and on the broker.
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import { queueDepths, sql } from './kube.ts';
import type { Outcome } from './load.ts';

const STATEFUL = ['user', 'session', 'order', 'payment', 'email'] as const;

/** Numbers that are counted in one database. */
type Counts = Record<string, number | string | null>;

/**
 * Waits until nothing is under way any more, then asserts that everybody of a load has one user, one session, one welcome order that
 * is paid, one payment of which the provider has taken the money once, and three e-mails that are sent; that there is
 * nobody else of that name; and that nothing is left in an outbox or in a queue, dead letters included.
 *
 * @returns ms until everything had arrived
 */
export async function takeAccounts({ prefix, signUps }: Outcome, timeout = 300_000): Promise<number> {
  const began = performance.now();
  const unanswered = signUps.filter(({ id }) => id === undefined);
  expect(
    unanswered.slice(0, 10).map(({ n, failures }) => `${prefix}-${n}: ${failures.at(-1)}`),
    `${unanswered.length} of ${signUps.length} sign-ups were never answered 201`,
  ).to.deep.equal([]);
  const ids = signUps.map(({ id }) => id as string);
  const n = ids.length;
  const count = (service: string, numbers: Record<string, string>) => countOf(service, ids, numbers);

  await eventually(
    async () => {
      for (const service of STATEFUL)
        expect(
          await sql(service, 'select count(*) from warren.outbox'),
          `events in the outbox of ${service}`,
        ).to.equal('0\n');
      for (const [queue, messages] of await queueDepths())
        if (queue !== 'unrouted') expect(messages, `messages in ${queue}`).to.equal(0);
      const orders = await count('order', { pending: "orders where status = 'pending'" });
      expect(orders, 'orders that are not decided').to.deep.equal({ pending: 0 });
      const emails = await count('email', { all: 'emails', pending: "emails where status <> 'sent'" });
      expect(emails, 'e-mails').to.deep.equal({ all: 3 * n, pending: 0 });
      expect(
        await sql('payment', 'select count(*) from warren.tasks'),
        'payments that are under way',
      ).to.equal('0\n');
    },
    { timeout, interval: 1_000 },
  );
  const settledAfter = performance.now() - began;

  const users = await sql(
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
  const { ordered, ...orders } = await count('order', {
    orders: 'orders',
    welcome: 'orders where welcome',
    paid: "orders where status = 'paid'",
    people: '(select distinct user_id from orders) s',
    ordered: fingerprint('id', 'orders'),
  });
  expect(orders, 'orders').to.deep.equal({ orders: n, welcome: n, paid: n, people: n });

  const { paid, charges, ...payments } = await count('payment', {
    payments: 'payments',
    processed: "payments where status = 'processed'",
    paid: fingerprint('order_id', 'payments'),
    charges: `=select count(*) || ' of ' || count(distinct reference) from simulator.books
              where outcome = 'accepted' and kind = 'charge' and reference::text in
                (select order_id::text from payments where user_id in (select id from ids))`,
  });
  expect(payments, 'payments').to.deep.equal({ payments: n, processed: n });
  expect(paid, 'the orders that are paid for are the orders there are').to.equal(ordered);
  expect(charges, "charges in the provider's books, of orders").to.equal(`${n} of ${n}`);

  const templates = ['welcome', 'order-received', 'order-confirmed'];
  expect(
    await count(
      'email',
      Object.fromEntries(
        templates.map((template) => [
          template,
          `(select distinct user_id from emails where template = '${template}') s`,
        ]),
      ),
    ),
    'people who were sent an e-mail',
  ).to.deep.equal(Object.fromEntries(templates.map((template) => [template, n])));
  return settledAfter;
}

/**
 * Counts rows that have a `user_id` of `ids`, all in one snapshot.
 *
 * @param numbers by name: a table and a condition; or, after `=`, a whole query
 */
async function countOf(
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
