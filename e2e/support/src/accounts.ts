// What must be true in the end, whatever was broken on the way: counted in the databases and on the broker.
import { eventually } from '@warren/testkit';
import { expect } from 'chai';
import type { SignUp } from './load.ts';
import { type System, TAPE } from './system.ts';

export interface Accounts {
  signUps: number;
  /** Events that were published once more than needed since the last accounts, under the same id. */
  duplicates: number;
  /** ms from the call until everything had arrived. */
  settledAfter: number;
}

/** What the last accounts of a system have found. */
const repeatedBefore = new WeakMap<System, number>();

interface Taped {
  type: string;
  messageId: string;
  correlationId: string;
  // biome-ignore lint/suspicious/noExplicitAny: of whatever event it is
  data: any;
}

/**
 * Waits until nothing is under way any more, then asserts: everybody in the ledger has a 201, one user, one session; each
 * event was published, once unless `duplicates` are allowed this time, and always under one id and the correlation id of its request;
 * and there is nothing else: no further row, nothing in an outbox, parked, dead-lettered, unrouted or left in a queue.
 * @param options.timeout ms to wait for what is still under way, default 30,000
 */
export async function takeAccounts(
  system: System,
  { duplicates = false, timeout = 30_000 }: { duplicates?: boolean; timeout?: number } = {},
): Promise<Accounts> {
  const { ledger, broker } = system;
  const began = performance.now();
  const unanswered = ledger.filter(({ user }) => user === undefined);
  expect(unanswered.map(summary), 'sign-ups without a 201').to.deep.equal([]);
  const ids = ledger.map(({ user }) => user?.id as string).sort();

  const count = async (service: 'user' | 'session', table: string) =>
    (await system.sql<{ n: number }>(service, `select count(*)::int as n from ${table}`))[0]?.n;
  await eventually(
    async () => {
      expect(await count('user', 'warren.outbox'), "events in user's outbox").to.equal(0);
      expect(await count('session', 'sessions'), 'sessions').to.be.at.least(ids.length);
      expect(await count('session', 'warren.outbox'), "events in session's outbox").to.equal(0);
    },
    { timeout, interval: 100 },
  );
  const settledAfter = performance.now() - began;

  const users = await system.sql<{ id: string; email: string }>(
    'user',
    'select id, email from users order by id',
  );
  expect(
    differences(
      users.map(({ id }) => id),
      ids,
    ),
    'users',
  ).to.deep.equal(none);
  expect(
    differences(
      users.map(({ email }) => email),
      ledger.map(({ email }) => email),
    ),
    'e-mail addresses',
  ).to.deep.equal(none);
  const sessions = await system.sql<{ id: string; user_id: string; status: string }>(
    'session',
    'select * from sessions',
  );
  expect(
    differences(
      sessions.map(({ user_id }) => user_id),
      ids,
    ),
    'sessions, by user',
  ).to.deep.equal(none);
  const inbox = await system.sql<{ consumer: string }>('session', 'select consumer from warren.inbox');
  expect(inbox.length, "messages in session's inbox").to.equal(ids.length);
  expect(await count('session', 'warren.tasks'), 'pending expiries').to.equal(ids.length);

  const queues = ['session.user.created', 'session.user.created.dlq', 'unrouted'];
  for (const queue of [...queues, ...['1s', '10s', '1m'].map((level) => `session.retry.${level}`)]) {
    await eventually(async () => expect(await broker.queueDepth(queue), `messages in ${queue}`).to.equal(0), {
      timeout,
    });
  }

  const tape: Taped[] = (await broker.get(TAPE, { limit: Number.MAX_SAFE_INTEGER })).map(
    ({ body, properties }) => ({
      type: body.type,
      data: body.data,
      messageId: properties.messageId,
      correlationId: properties.correlationId,
    }),
  );
  const published = (type: string) => tape.filter((event) => event.type === type);
  const created = published('user.created');
  const opened = published('session.opened');
  expect(tape.length, 'events of other types').to.equal(created.length + opened.length);
  expect(
    differences(unique(created.map(({ data }) => data.userId)), ids),
    'user.created, by user',
  ).to.deep.equal(none);
  expect(
    differences(
      unique(opened.map(({ data }) => data.sessionId)),
      sessions.map(({ id }) => id),
    ),
    'session.opened, by session',
  ).to.deep.equal(none);
  for (const events of [created, opened]) {
    expect(unique(events.map(({ messageId }) => messageId)).length, 'ids of events').to.equal(ids.length);
  }
  const correlations = new Map(ledger.map(({ user, correlationId }) => [user?.id, correlationId]));
  const astray = tape.filter(({ data, correlationId }) => correlations.get(data.userId) !== correlationId);
  expect(astray, 'events without the correlation id of their request').to.deep.equal([]);

  const repeated = tape.length - 2 * ids.length;
  const more = repeated - (repeatedBefore.get(system) ?? 0);
  repeatedBefore.set(system, repeated);
  if (!duplicates) expect(more, 'events published twice').to.equal(0);
  return { signUps: ids.length, duplicates: more, settledAfter };
}

const unique = <T>(values: T[]): T[] => [...new Set(values)];

const none = { missing: [], extra: [] };

/** What is in one list and not in the other, each as often as it is too many; at most ten of each are told. */
function differences(found: readonly string[], wanted: readonly string[]) {
  const balance = new Map<string, number>();
  for (const value of wanted) balance.set(value, (balance.get(value) ?? 0) - 1);
  for (const value of found) balance.set(value, (balance.get(value) ?? 0) + 1);
  const of = (sign: number) => [...balance].filter(([, n]) => n * sign > 0).map(([value]) => value);
  const told = (values: string[]) =>
    values.length > 10 ? [...values.slice(0, 10), `… ${values.length} in all`] : values;
  return { missing: told(of(-1)), extra: told(of(1)) };
}

function summary({ email, attempts }: SignUp): string {
  const last = attempts.at(-1);
  const outcome = last?.error?.message ?? `${last?.answer?.status} ${JSON.stringify(last?.answer?.body)}`;
  return `${email}, after ${attempts.length} attempts: ${outcome}`;
}
