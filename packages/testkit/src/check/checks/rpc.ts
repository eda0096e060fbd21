import { randomUUID } from 'node:crypto';
import type { Recorded } from '../../rabbitmq/probe.ts';
import { brokerObjects } from '../broker-objects.ts';
import type { Check } from '../check.ts';
import { type Context, NotChecked } from '../context.ts';
import { DEFAULTS, type MethodOptions } from '../options.ts';
import { userOf } from '../subject.ts';
import type { Watch } from '../wire.ts';

export const rpc: Check = {
  name: 'rpc',
  demands:
    'A request on `rpc` gets one reply: published to `rpc` with the name of the reply queue as key, `correlation-id` = the `message-id` of the request, a UUID as `message-id`, `type` `reply` or `problem` with its content type, `app-id`, `user-id`, transient, an `expiration` no longer than the time-out, and the same `x-correlation-id`. The body fits the contract. An invalid request gets a problem with status 400. A request without a time-out, without or with a wrong `user-id`, or whose `reply-to` belongs to another service or is not a reply queue gets none. Needs `--method` and `--request`.',
  why: 'The caller matches replies by that id, gives up at its deadline, and must not be told anything by, or tell anything to, another service.',
  async run(context) {
    const { method } = context.options;
    if (method === undefined)
      throw new NotChecked('give --method NAME.vN and --request FILE if the service handles requests');
    const calls = await openCalls(context, method);
    await reportQueue(context, method);
    await reportAnswer(context, calls, method);
    await reportInvalid(context, calls);
    await reportIgnored(context, calls);
  },
};

const TIMEOUT_MS = 5_000;

interface Call {
  what: string;
  messageId: string;
  content: Buffer;
  properties: Record<string, unknown> & { headers: Record<string, unknown> };
}

interface Calls {
  /** Every message that came to a reply queue of the kit. */
  replies: Watch;
  replyTo: string;
  correlationId: string;
  /** A request, with changes. */
  call(
    what: string,
    body: unknown,
    changes?: { properties?: object; headers?: Record<string, unknown> },
  ): Call;
  send(call: Call): Promise<void>;
  /** Waits for the reply to a request. */
  reply(call: Call): Promise<Recorded | undefined>;
}

async function openCalls(
  context: Context,
  { name, caller = DEFAULTS.caller }: MethodOptions,
): Promise<Calls> {
  const { wire, subject } = context;
  const replyTo = `${caller}.reply.contract-kit-${randomUUID()}`;
  const replies = await wire.tap('rpc', [replyTo, foreignReplyTo(replyTo), noReplyTo(replyTo)], replyTo);
  const user = userOf(caller, subject);
  const correlationId = randomUUID();
  return {
    replies,
    replyTo,
    correlationId,
    call(what, body, { properties = {}, headers } = {}) {
      const messageId = randomUUID();
      return {
        what,
        messageId,
        content: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
        properties: {
          messageId,
          type: name,
          appId: caller,
          userId: user,
          replyTo,
          contentType: 'application/json',
          expiration: String(TIMEOUT_MS),
          headers: headers ?? { 'x-warren-timeout': TIMEOUT_MS, 'x-correlation-id': correlationId },
          ...properties,
        },
      };
    },
    send: (call) => wire.publish('rpc', name, call),
    async reply(call) {
      const find = () =>
        replies.messages.find(({ properties }) => properties.correlationId === call.messageId);
      await context.until(async () => (find() ? 'done' : 'waiting'));
      return find();
    },
  };
}

/** A reply queue of another service, and the name of something else. */
const foreignReplyTo = (replyTo: string) => `other-${replyTo}`;
const noReplyTo = (replyTo: string) => replyTo.replace('.reply.', '.request.');

async function reportQueue(context: Context, { name }: MethodOptions): Promise<void> {
  const { service } = context.subject;
  const objects = brokerObjects(context.wire);
  const queue = await objects.queue(`${service}.rpc`);
  if (queue === undefined) return context.fault(`the queue ${service}.rpc does not exist`);
  const { 'x-queue-type': type = 'classic', 'x-delivery-limit': limit } = queue.arguments;
  if (type !== 'quorum') context.fault(`${service}.rpc is a ${type} queue; expected quorum`);
  if (!(typeof limit === 'number' && limit > 0))
    context.fault(`${service}.rpc: x-delivery-limit is ${limit ?? 'missing'}; expected a number such as 10`);
  if (!(await objects.keys(`${service}.rpc`, 'rpc')).includes(name))
    context.fault(`${service}.rpc is not bound to rpc by ${name}`);
}

async function reportAnswer(context: Context, calls: Calls, { name, request }: MethodOptions): Promise<void> {
  const call = calls.call('a valid request', request);
  await calls.send(call);
  const reply = await calls.reply(call);
  if (reply === undefined) return context.fault(missing(calls, call));
  for (const fault of replyFaults(context, calls, reply)) context.fault(`the reply: ${fault}`);
  if (reply.properties.type === 'problem')
    return context.fault(`a valid request was refused: ${reply.content.toString().slice(0, 300)}`);
  const invalid = context.contracts.reply(name)?.(reply.body);
  if (invalid !== undefined) context.fault(`the reply does not fit the contract: ${invalid}`);
}

const missing = ({ replies }: Calls, { what }: Call): string =>
  replies.messages.length === 0
    ? `${what} got no reply`
    : `${what} got a reply whose correlation-id is not the message-id of the request`;

function replyFaults(
  context: Context,
  { correlationId }: Calls,
  { properties, exchange }: Recorded,
): string[] {
  const { service, user } = context.subject;
  const { messageId, type, contentType, appId, userId, deliveryMode, expiration, headers = {} } = properties;
  const isProblem = type === 'problem';
  const wantedType = isProblem ? 'application/problem+json' : 'application/json';
  const rest = Number(expiration);
  return [
    ...(exchange === 'rpc' ? [] : [`it was published to the exchange '${exchange}'; expected rpc`]),
    ...(/^[\da-f-]{36}$/i.test(messageId ?? '') ? [] : ['message-id has to be a UUID']),
    ...(isProblem || type === 'reply' ? [] : [`type is ${type ?? 'missing'}; expected reply or problem`]),
    ...(contentType?.startsWith(wantedType)
      ? []
      : [`content-type is ${contentType ?? 'missing'}; expected ${wantedType}`]),
    ...(appId === service ? [] : [`app-id is ${appId ?? 'missing'}; expected ${service}`]),
    ...(userId === user ? [] : [`user-id is ${userId ?? 'missing'}; expected ${user}`]),
    ...(deliveryMode === 2 ? ['it is persistent; expected transient'] : []),
    ...(rest > 0 && rest <= TIMEOUT_MS
      ? []
      : [`expiration is ${expiration ?? 'missing'}; expected the rest of the time-out`]),
    ...(headers['x-correlation-id'] === correlationId ? [] : ['x-correlation-id is not that of the request']),
  ];
}

async function reportInvalid(context: Context, calls: Calls): Promise<void> {
  for (const [what, body] of [
    ['a request that is not JSON', '{'],
    ['a request that is a text', '"text"'],
  ] as const) {
    const call = calls.call(what, body);
    await calls.send(call);
    const reply = await calls.reply(call);
    if (reply === undefined) context.fault(missing(calls, call));
    else if (reply.properties.type !== 'problem' || reply.body?.status !== 400)
      context.fault(`${what} has to get a problem with status 400`);
    else for (const fault of replyFaults(context, calls, reply)) context.fault(`the problem: ${fault}`);
  }
}

/** Requests that are dropped; a valid one after them shows that their turn is over. */
async function reportIgnored(context: Context, calls: Calls): Promise<void> {
  const { request } = context.options.method as MethodOptions;
  const ignored = [
    calls.call('a request without time-out', request, { headers: {} }),
    calls.call('a request without user-id', request, { properties: { userId: undefined } }),
    calls.call('a request of another user', request, { properties: { userId: `other-${randomUUID()}` } }),
    calls.call('a request whose reply-to belongs to another service', request, {
      properties: { replyTo: foreignReplyTo(calls.replyTo) },
    }),
    calls.call('a request whose reply-to is not a reply queue', request, {
      properties: { replyTo: noReplyTo(calls.replyTo) },
    }),
  ];
  for (const call of ignored) await calls.send(call);
  const last = calls.call('a valid request after them', request);
  await calls.send(last);
  if ((await calls.reply(last)) === undefined) context.fault(missing(calls, last));
  for (const { what, messageId } of ignored)
    if (calls.replies.messages.some(({ properties }) => properties.correlationId === messageId))
      context.fault(`${what} got a reply`);
}
