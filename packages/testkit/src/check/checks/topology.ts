import { type BrokerObjects, type BrokerQueue, brokerObjects } from '../broker-objects.ts';
import type { Check } from '../check.ts';
import type { Context, Subject } from '../context.ts';
import { levelOf } from '../retry-levels.ts';

export const topology: Check = {
  name: 'topology',
  demands:
    'The work queue `SERVICE.TYPE`, its dead-letter queue, the exchanges `SERVICE.retry` and `SERVICE.return` and the delay queues exist, durable, with the types, arguments and bindings of [the table](broker.md#a-services-own): quorum queues, a delivery limit, dead-lettering at least once, no maximum length, no TTL of a queue that keeps messages.',
  why: 'Each argument closes a way to lose a message: a classic queue with its node, `at-least-once` without `reject-publish`, a length limit, the delivery limit of 20 that RabbitMQ 4 gives to a dead-letter queue.',
  async run(context) {
    const objects = brokerObjects(context.wire);
    const { subject } = context;
    const report = (faults: readonly string[]) => {
      for (const fault of faults) context.fault(fault);
    };
    report(await exchangeFaults(objects, subject));
    report(await workQueueFaults(objects, subject));
    report(await deadLetterFaults(objects, subject));
    report(await delayFaults(objects, context));
  },
};

async function exchangeFaults(objects: BrokerObjects, { service }: Subject): Promise<string[]> {
  const faults: string[] = [];
  for (const name of [`${service}.retry`, `${service}.return`]) {
    const exchange = await objects.exchange(name);
    if (exchange === undefined) faults.push(`the exchange ${name} does not exist`);
    else if (exchange.type !== 'direct' || !exchange.durable)
      faults.push(
        `the exchange ${name} is ${exchange.type}${exchange.durable ? '' : ' and not durable'}; expected direct and durable`,
      );
  }
  return faults;
}

async function workQueueFaults(
  objects: BrokerObjects,
  { queue: name, service, event }: Subject,
): Promise<string[]> {
  const queue = await objects.queue(name);
  if (queue === undefined) return [`the queue ${name} does not exist`];
  const limit = queue.arguments['x-delivery-limit'];
  const keys = await objects.keys(name, 'events');
  const isOwn = (key: string) =>
    key.startsWith(`${event.type}.v`) && /^\d+$/.test(key.slice(event.type.length + 2));
  const others = keys.filter((key) => !isOwn(key));
  return [
    ...quorumFaults(name, queue),
    ...argumentFaults(name, queue, {
      'x-dead-letter-exchange': `${service}.return`,
      'x-dead-letter-routing-key': `${name}.dlq`,
      ...AT_LEAST_ONCE,
    }),
    ...(typeof limit === 'number' && limit > 0
      ? []
      : [`${name}: x-delivery-limit is ${limit ?? 'missing'}; expected a number such as 10`]),
    ...(keys.some(isOwn) ? [] : [`${name} is not bound to events by ${event.type}.vN`]),
    ...others.map((key) => `${name} is bound to events by ${key}; its name allows ${event.type}.vN`),
    ...(await returnFaults(objects, name, service)),
  ];
}

/** A dead letter may be looked at this often, at least. */
const LOOKS = 1_000;

async function deadLetterFaults(
  objects: BrokerObjects,
  { queue: work, service }: Subject,
): Promise<string[]> {
  const name = `${work}.dlq`;
  const queue = await objects.queue(name);
  if (queue === undefined) return [`the queue ${name} does not exist`];
  const limit = Number(queue.arguments['x-delivery-limit']);
  return [
    ...quorumFaults(name, queue),
    ...(limit >= LOOKS
      ? []
      : [
          `${name}: x-delivery-limit is ${queue.arguments['x-delivery-limit'] ?? 'missing'}, so RabbitMQ 4 drops a letter that was read too often; expected 1000000`,
        ]),
    ...(await returnFaults(objects, name, service)),
  ];
}

async function delayFaults(objects: BrokerObjects, { subject: { service } }: Context): Promise<string[]> {
  const exchange = `${service}.retry`;
  const bound = (await objects.bound(exchange)).filter(({ queue }) => queue.startsWith(`${exchange}.`));
  if (bound.length === 0) return [`no delay queue ${exchange}.LEVEL is bound to the exchange ${exchange}`];
  const faults = bound.map(async ({ queue: name, key }) => {
    const queue = await objects.queue(name);
    if (queue === undefined) return [];
    const hasKey = queue.arguments['x-dead-letter-routing-key'] !== undefined;
    return [
      ...quorumFaults(name, queue),
      ...argumentFaults(name, queue, { 'x-dead-letter-exchange': `${service}.return`, ...AT_LEAST_ONCE }),
      ...(hasKey ? [`${name}: x-dead-letter-routing-key is set, so the message would lose its CC`] : []),
      ...(name === `${exchange}.${key}` && levelOf(key)
        ? []
        : [`${name} is bound by ${key}; expected a level such as 10s, and the queue ${exchange}.LEVEL`]),
    ];
  });
  return (await Promise.all(faults)).flat();
}

const AT_LEAST_ONCE = { 'x-dead-letter-strategy': 'at-least-once', 'x-overflow': 'reject-publish' };

/** Limits that lose messages, by their names as arguments (with `x-`) and in policies. */
const LIMITS = ['max-length', 'max-length-bytes', 'message-ttl', 'expires'];

function quorumFaults(name: string, queue: BrokerQueue): string[] {
  const {
    durable,
    exclusive,
    auto_delete: autoDelete,
    arguments: args,
    effective_policy_definition: policy = {},
  } = queue;
  const type = args['x-queue-type'] ?? 'classic';
  return [
    ...(type === 'quorum' ? [] : [`${name} is a ${type} queue; expected quorum`]),
    ...(durable && !exclusive && !autoDelete
      ? []
      : [`${name} has to be durable, not exclusive and not deleted automatically`]),
    ...LIMITS.filter((limit) => args[`x-${limit}`] !== undefined || limit in policy).map(
      (limit) => `${name} has ${limit}, so messages may get lost or be refused to all`,
    ),
  ];
}

const argumentFaults = (name: string, queue: BrokerQueue, wanted: Record<string, string>): string[] =>
  Object.entries(wanted).flatMap(([argument, value]) => {
    const found = queue.arguments[argument];
    return found === value ? [] : [`${name}: ${argument} is ${found ?? 'missing'}; expected ${value}`];
  });

async function returnFaults(objects: BrokerObjects, name: string, service: string): Promise<string[]> {
  const keys = await objects.keys(name, `${service}.return`);
  return keys.includes(name) ? [] : [`${name} is not bound to ${service}.return by its own name`];
}
