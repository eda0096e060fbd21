// The tour: follows a sign-up through every hop as it happens; then a duplicate event, an order that exceeds the payment limit, and
// a request to four services at once.
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
import type { Tokens } from './tokens.ts';

export interface Stage {
  screen: Screen;
  /** With AUTH=jwt. */
  tokens: Tokens | undefined;
  /** Receives all events. */
  probe: Probe;
  vhost: Vhost;
  /** Base URLs by service. */
  url(service: string): string;
  adminUrl(service: string): string;
  /** Calls back for every committed transaction of every service, until the function it returns is called. */
  onTransaction(listener: (service: string, changes: Change[], at: number) => void): () => void;
}

export interface Tour {
  /** Of the user. */
  email: string;
  userId: string;
  orderId: string;
  /** Time from the POST to the last e-mail about the welcome order, in ms. */
  elapsed: number;
}

/** Time limit of a hop. */
const HOP_TIMEOUT_MS = 15_000;

/** Exceeds every PAYMENT_LIMIT. */
const UNAFFORDABLE = 9_999_999.99;

/** @throws one sentence about the hop that did not happen */
export async function tour({
  screen,
  tokens,
  probe,
  vhost,
  url,
  adminUrl,
  onTransaction,
}: Stage): Promise<Tour> {
  const correlationId = `tour-${randomUUID().slice(0, 8)}`;
  const person = { name: 'Ada Lovelace', email: `ada.${Date.now().toString(36)}@example.com` };
  let startedAt = performance.now();
  const hops = inOrder<{ who: string; what: string; detail?: string }>(({ at, who, what, detail }) => {
    screen.hop(at - startedAt, who, what);
    if (detail) screen.detail(detail);
  });
  const hop = (who: string, what: string, detail?: string) =>
    hops.add({ at: performance.now(), who, what, detail });
  /** Starts the next chapter, and its clock at 0. */
  const chapter = async (title: string) => {
    await eventually(() => drained(seen), { timeout: HOP_TIMEOUT_MS });
    await hops.shown();
    screen.title(title);
    startedAt = performance.now();
  };

  const seen: { service: string; changes: Change[] }[] = [];
  const stopListening = onTransaction((service, changes, at) => {
    const first = !seen.some((one) => confirmations(one.changes).length > 0);
    seen.push({ service, changes });
    // Shows only the first confirmation.
    const what = describe(changes, { confirmations: first });
    if (what) hops.add({ at: at - performance.timeOrigin, who: service, what });
  });
  const inbox = subscribersOf(adminUrl);
  probe.onEvent(({ routingKey, properties, body }) =>
    hop('exchange', `${routingKey} from ${properties.appId}: ${Object.keys(body?.data ?? {}).join(', ')}`),
  );
  const rpc = await vhost.probe('rpc', '#');
  rpc.onEvent(({ routingKey, properties }) =>
    hop('rpc', properties.replyTo ? `request ${routingKey}` : `response from ${properties.appId}`),
  );

  const post = async (
    path: string,
    body: object,
    { at = url('gateway'), headers = {} }: { at?: string; headers?: Record<string, string> } = {},
  ): Promise<Record<string, string>> => {
    const address = `${at}${path}`;
    hop('you', `POST ${address}`, JSON.stringify(body));
    const response = await fetch(address, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-correlation-id': correlationId, ...headers },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(HOP_TIMEOUT_MS),
    });
    const text = await response.text();
    if (response.status !== 201) throw new Error(`POST ${address} returned ${response.status}: ${text}`);
    return JSON.parse(text);
  };
  const published = async (type: string, about: object): Promise<Recorded> => {
    const matches = ({ body }: Recorded) =>
      body?.type === type && Object.entries(about).every(([key, value]) => body.data?.[key] === value);
    try {
      return (await probe.waitFor(matches, { timeout: HOP_TIMEOUT_MS }))[0] as Recorded;
    } catch (error) {
      throw new Error(`No ${type} was published within ${HOP_TIMEOUT_MS / 1_000} s.`, { cause: error });
    }
  };

  try {
    // The issuer signs the user up at the gateway, and puts the user's id into its tokens.
    const user =
      tokens === undefined
        ? await post('/users/save', person)
        : await post('/sign-up', { ...person, password: tokens.password }, { at: tokens.url });
    const headers = await tokens?.headers(person.email);
    const userId = user.id as string;
    hop('you', `201 Created: ${userId}`);
    const signUp = await published('user.created', { userId });
    await published('session.opened', { userId });
    const welcome = await published('order.created', { userId });
    const { orderId } = welcome.body.data;
    await published('payment.processed', { orderId });
    await published('order.confirmed', { orderId });
    for (const template of ['welcome', 'order-received', 'order-confirmed'])
      await published('email.sent', { userId, template });
    const elapsed = performance.now() - startedAt;

    await chapter('A duplicate: the same user.created again, as after a crash');
    hop('you', 'publish it again with the same id');
    const before = await inbox.duplicates();
    await vhost.publish('events', signUp.routingKey, signUp.content, publishable(signUp));
    for (const service of ['session', 'order', 'email']) {
      await eventually(async () => ((await inbox.duplicates())[service] ?? 0) > (before[service] ?? 0), {
        timeout: HOP_TIMEOUT_MS,
      }).catch(() => {
        throw new Error(`The ${service} service did not count the repeated user.created as a duplicate.`);
      });
      hop(service, 'duplicate: the inbox contains its id, so it is only acknowledged and counted');
    }

    await chapter('An order that exceeds the payment limit');
    const order = { userId, productName: 'A small island', price: UNAFFORDABLE };
    const placed = await post('/orders', order, { ...(headers && { headers }) });
    hop('you', `201 Created: ${placed.orderId}, ${placed.status}`);
    await published('payment.failed', { orderId: placed.orderId });
    const cancelled = await published('order.cancelled', { orderId: placed.orderId });
    for (const template of ['order-received', 'order-cancelled']) {
      await eventually(
        () =>
          probe.events.filter(({ body }) => body?.type === 'email.sent' && body.data.template === template)
            .length >= (template === 'order-received' ? 2 : 1),
        { timeout: HOP_TIMEOUT_MS },
      ).catch(() => {
        throw new Error(`No e-mail '${template}' was sent within ${HOP_TIMEOUT_MS / 1_000} s.`);
      });
    }
    if (cancelled.body.data.reason !== 'limit_exceeded')
      throw new Error(
        `The order was cancelled with the reason '${cancelled.body.data.reason}', not 'limit_exceeded'.`,
      );

    await chapter('An overview of the user: requests to four services over the broker');
    hop('you', `GET ${url('gateway')}/overview/${userId}`);
    const overview = (await (
      await fetch(`${url('gateway')}/overview/${userId}`, { ...(headers && { headers }) })
    ).json()) as Overview;
    hop('you', `200 OK: ${summary(overview)}`);
    check(overview);
    await hops.shown();

    const others = probe.events.filter(({ properties }) => properties.correlationId !== correlationId);
    if (others.length > 0)
      throw new Error(
        `The correlation id ${correlationId} was lost: ${others[0]?.routingKey} has ${others[0]?.properties.correlationId}.`,
      );
    screen.line();
    screen.line(
      screen.faint(
        `All ${probe.events.length} events and all log lines have the correlation id ${correlationId}.`,
      ),
    );
    return { email: person.email, userId, orderId, elapsed };
  } finally {
    stopListening();
    await rpc.close();
  }
}

interface Overview {
  user: { name: string } | null;
  sessions: { status: string }[] | null;
  orders: { productName: string; status: string }[] | null;
  payments: { status: string; reason?: string }[] | null;
  missing: string[];
}

const summary = ({ user, sessions, orders, payments, missing }: Overview): string =>
  [
    user?.name ?? 'no user',
    `sessions ${sessions?.map(({ status }) => status).join(', ')}`,
    `orders ${orders?.map(({ productName, status }) => `'${productName}' ${status}`).join(', ')}`,
    `payments ${payments?.map(({ status, reason }) => (reason ? `${status} (${reason})` : status)).join(', ')}`,
    missing.length === 0 ? 'nothing missing' : `missing: ${missing.join(', ')}`,
  ].join('; ');

function check({ sessions, orders, payments, missing }: Overview): void {
  const found = JSON.stringify([
    sessions?.map(({ status }) => status),
    orders?.map(({ status }) => status),
    payments?.map(({ status }) => status),
    missing,
  ]);
  const wanted = JSON.stringify([['active'], ['paid', 'cancelled'], ['processed', 'failed'], []]);
  if (found !== wanted) throw new Error(`The overview must show ${wanted}, but shows ${found}.`);
}

/** Whether every outbox row that was inserted has been deleted. */
function drained(seen: { changes: Change[] }[]): boolean {
  const rows = seen.flatMap(({ changes }) => changes).filter(({ table }) => table === 'warren.outbox');
  const written = rows.filter(({ operation }) => operation === 'insert').length;
  return written === rows.filter(({ operation }) => operation === 'delete').length;
}

const confirmations = (changes: Change[]): Change[] =>
  changes.filter(({ table, operation }) => table === 'warren.outbox' && operation === 'delete');

/** Describes what a transaction wrote; empty for maintenance of the chassis. */
export function describe(changes: Change[], show: { confirmations: boolean }): string {
  const written = changes.filter(({ operation, table }) => operation === 'insert' || !table.includes('.'));
  const confirmed = show.confirmations ? confirmations(changes).map(({ row }) => row.type) : [];
  const done = changes
    .filter(({ table, operation }) => table === 'warren.tasks' && operation === 'delete')
    .map(({ row }) => (row.attempts === '0' ? `${row.kind} unscheduled` : `${row.kind} done`));
  const parts = [];
  if (written.length > 0) parts.push(`commit: ${unique(written.map(inWords)).join(' + ')}`);
  if (done.length > 0) parts.push(done.join(', '));
  if (confirmed.length > 0) parts.push(`broker confirmed ${confirmed.join(', ')}: outbox row deleted`);
  return parts.join('; ');
}

function inWords({ table, row, operation }: Change): string {
  if (table === 'warren.outbox') return `outbox(${row.type})`;
  if (table === 'warren.tasks') return `task(${row.kind})`;
  if (table === 'simulator.books') return `payment provider: ${row.kind} ${row.outcome}`;
  const name = table.replace(/^warren\./, '');
  if (operation === 'delete') return `${name} deleted`;
  const about = [row.template, row.status].filter(Boolean).join(', ');
  return `${name}${about && `(${about})`}`;
}

const unique = (words: string[]): string[] => [...new Set(words)];

/** The properties needed to publish a received message again. */
function publishable({ properties }: Recorded) {
  const { messageId, type, appId, correlationId, contentType, timestamp, headers } = properties;
  return { messageId, type, appId, correlationId, contentType, timestamp, headers };
}

/** Reads how many duplicates the consumers of `user.created` counted. */
function subscribersOf(adminUrl: (service: string) => string) {
  return {
    async duplicates(): Promise<Record<string, number>> {
      const counts = ['session', 'order', 'email'].map(async (service) => {
        const metrics = await (await fetch(`${adminUrl(service)}/metrics`)).text();
        const lines = metrics
          .split('\n')
          .filter((line) => /^events_consumed_total\{.*user\.created.*outcome="duplicate"/.test(line));
        return [service, lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)] as const;
      });
      return Object.fromEntries(await Promise.all(counts));
    },
  };
}
