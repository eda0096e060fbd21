// The tour: one sign-up, followed through every hop as it happens.
import { randomUUID } from 'node:crypto';
import {
  type Change,
  eventually,
  type Probe,
  type Recorded,
  type Vhost,
} from '../../packages/testkit/src/index.ts';
import { inOrder } from './order.ts';
import type { Screen } from './screen.ts';

export interface Stage {
  screen: Screen;
  probe: Probe;
  vhost: Vhost;
  /** Base URLs by service. */
  url(service: string): string;
  adminUrl(service: string): string;
  /** Calls back for every committed transaction of every service, until the function it returns is called. */
  onTransaction(listener: (service: string, changes: Change[], at: number) => void): () => void;
}

export interface Tour {
  userId: string;
  sessionId: string;
  /** From the POST to the open session, in ms. */
  elapsed: number;
}

/** How long a hop may take, in ms. */
const patience = 15_000;

/** @throws one sentence about the hop that did not happen */
export async function tour({ screen, probe, vhost, url, adminUrl, onTransaction }: Stage): Promise<Tour> {
  const correlationId = `tour-${randomUUID().slice(0, 8)}`;
  const person = { name: 'Ada Lovelace', email: `ada.${Date.now().toString(36)}@example.com` };
  const startedAt = performance.now();
  const hops = inOrder<{ who: string; what: string; detail?: string }>(({ at, who, what, detail }) => {
    screen.hop(at - startedAt, who, what);
    if (detail) screen.detail(detail);
  });
  const hop = (who: string, what: string, detail?: string) =>
    hops.add({ at: performance.now(), who, what, detail });

  const seen: { service: string; changes: Change[] }[] = [];
  const stopListening = onTransaction((service, changes, at) => {
    seen.push({ service, changes });
    hops.add({ at: at - performance.timeOrigin, who: service, what: describe(changes) });
  });
  let showing = true;
  probe.onEvent((event) => {
    if (showing) hop('exchange', `${event.routingKey} from ${event.properties.appId}: ${dataOf(event)}`);
  });

  try {
    const address = `${url('user')}/users/save`;
    hop('you', `POST ${address}`, JSON.stringify(person));
    const response = await fetch(address, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-correlation-id': correlationId },
      body: JSON.stringify(person),
      signal: AbortSignal.timeout(patience),
    });
    const text = await response.text();
    if (response.status !== 201)
      throw new Error(`POST ${address} was answered with ${response.status}: ${text}`);
    const { id: userId } = JSON.parse(text) as { id: string };
    hop('you', `201 Created: ${userId}`);

    const about = (type: string) => (event: Recorded) =>
      event.body?.type === type && event.body.data?.userId === userId;
    const [signUp] = (await heard(probe, 'user.created', about('user.created'))) as [Recorded];
    const [opened] = (await heard(probe, 'session.opened', about('session.opened'))) as [Recorded];

    const sessions = `${url('session')}/sessions?userId=${userId}`;
    const list = async () => {
      const answer = (await (await fetch(sessions)).json()) as {
        items: { id: string; status: string; expiresAt: string }[];
      };
      return answer.items;
    };
    const [session] = await eventually(
      async () => {
        const items = await list();
        return items.length === 1 ? items : false;
      },
      { timeout: patience },
    );
    if (!session) throw new Error(`GET ${sessions} shows no session`);
    const elapsed = performance.now() - startedAt;
    // The broker's confirms are on their way still.
    await eventually(() => drained(seen), { timeout: patience });
    hop('you', 'GET /sessions?userId=…', `one session, ${session.status}, until ${session.expiresAt}`);
    await hops.shown();
    const ids = [signUp, opened].map((event) => event.properties.correlationId);
    if (ids.some((id) => id !== correlationId)) {
      throw new Error(
        `the correlation id ${correlationId} got lost on the way: the events carry ${ids.join(' and ')}`,
      );
    }

    screen.line();
    hop('you', 'the same user.created once more, as a broker does after a crash');
    const before = await duplicates(adminUrl('session'));
    await vhost.publish('events', signUp.routingKey, signUp.content, publishable(signUp));
    await eventually(async () => (await duplicates(adminUrl('session'))) > before, {
      timeout: patience,
    }).catch(() => {
      throw new Error('the session service did not count the repeated user.created as a duplicate');
    });
    const still = await list();
    if (still.length !== 1)
      throw new Error(`the repeated user.created opened a second session: there are ${still.length}`);
    hop('session', 'known by its id in the inbox: acknowledged, counted, and nothing else');
    await hops.shown();

    return { userId, sessionId: session.id, elapsed };
  } finally {
    showing = false;
    stopListening();
  }
}

async function heard(probe: Probe, type: string, matches: (event: Recorded) => boolean): Promise<Recorded[]> {
  try {
    return await probe.waitFor(matches, { timeout: patience });
  } catch (error) {
    throw new Error(`No ${type} for this user came to the exchange within ${patience / 1000} s.`, {
      cause: error,
    });
  }
}

/** Every outbox row that was written has been deleted. */
function drained(seen: { service: string; changes: Change[] }[]): boolean {
  const count = (operation: Change['operation']) =>
    seen
      .flatMap(({ changes }) => changes)
      .filter((change) => change.table === 'warren.outbox' && change.operation === operation).length;
  return seen.length === 0 || count('insert') === count('delete');
}

/** A transaction in words: what was written together. */
export function describe(changes: Change[]): string {
  const inserted = changes.filter(({ operation }) => operation === 'insert').map(inWords);
  const deleted = changes.filter(({ operation }) => operation === 'delete');
  const confirmed = deleted.filter(({ table }) => table === 'warren.outbox');
  const parts = [];
  if (inserted.length > 0) parts.push(`commit: ${inserted.join(' + ')}`);
  if (confirmed.length > 0) {
    parts.push(
      `confirmed by the broker: outbox row of ${confirmed.map(({ row }) => row.type).join(', ')} deleted`,
    );
  }
  const rest = deleted.filter((change) => !confirmed.includes(change)).map(({ table }) => short(table));
  if (rest.length > 0) parts.push(`deleted: ${rest.join(', ')}`);
  return parts.join('; ');
}

function inWords({ table, row }: Change): string {
  if (table === 'warren.outbox') return `outbox(${row.type})`;
  if (table === 'warren.tasks') return `task(${row.kind})`;
  return short(table);
}

const short = (table: string): string => table.replace(/^warren\./, '');

const dataOf = (event: Recorded): string => {
  const data = event.body?.data ?? {};
  return Object.keys(data).join(', ');
};

/** The properties of a message that came, to publish it again. */
function publishable({ properties }: Recorded) {
  const { messageId, type, appId, correlationId, contentType, timestamp, headers } = properties;
  return { messageId, type, appId, correlationId, contentType, timestamp, headers };
}

async function duplicates(adminUrl: string): Promise<number> {
  const metrics = await (await fetch(`${adminUrl}/metrics`)).text();
  const lines = metrics
    .split('\n')
    .filter((line) => /^events_consumed_total\{.*outcome="duplicate"/.test(line));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}
