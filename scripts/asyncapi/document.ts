// The AsyncAPI 3.0 document of a whole: channels are the routing keys of its exchanges, operations what each service does there.
// https://www.asyncapi.com/docs/reference/specification/v3.0.0
import {
  type BrokerConfig,
  describeApi,
  get,
  type JsonSchema,
  jsonSchemaOf,
} from '../../packages/chassis/src/index.ts';
import * as contracts from '../../packages/contracts/src/index.ts';
import {
  type AnyEvent,
  type AnyMethod,
  CONTENT_TYPE,
  personalFields,
} from '../../packages/events/src/index.ts';

/** Version of the AMQP bindings. */
const AMQP = '0.3.0';
const EVENTS = 'events';
const RPC = 'rpc';

const declared = Object.values(contracts).filter(
  (each): each is AnyEvent | AnyMethod => typeof each === 'object' && each !== null && 'routingKey' in each,
);
const contractOf = (exchange: string, key: string) =>
  declared.find((each) => each.routingKey === key && 'method' in each === (exchange === RPC));

/** @param configs of the services' broker.ts, by service @throws {Error} when one of them names what no contract declares */
export function asyncApiOf(configs: ReadonlyMap<string, BrokerConfig>, version: string): object {
  const sent = [...configs].flatMap(([service, config]) => sentBy(service, config));
  const received = [...configs].flatMap(([service, config]) => receivedBy(service, config));
  const askers = [...configs].flatMap(([service, config]) => (asks(config) ? [service] : []));
  const all = [...sent, ...received];
  const keysOn = (exchange: string) =>
    [...new Set(all.filter((each) => each.exchange === exchange).map(({ key }) => key))].sort();
  const events = keysOn(EVENTS);
  const methods = keysOn(RPC);

  const channel = (exchange: string, key: string, messages: string[]) => ({
    address: key,
    description: inWords(exchange, key, all),
    messages: refs(messages),
    bindings: {
      amqp: {
        is: 'routingKey',
        exchange: { name: exchange, type: 'topic', durable: true, autoDelete: false },
        bindingVersion: AMQP,
      },
    },
  });
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Warren',
      version,
      description:
        'The messages between the services on RabbitMQ. An event (exchange `events`) says what happened, and goes to a queue of each service that consumes it. A method (exchange `rpc`) is a request that only reads; its reply goes to the caller.',
    },
    defaultContentType: CONTENT_TYPE,
    servers: {
      broker: { host: 'localhost:5672', protocol: 'amqp', protocolVersion: '0-9-1', description: 'AMQP_URL' },
    },
    channels: {
      ...Object.fromEntries(events.map((key) => [key, channel(EVENTS, key, [key])])),
      ...Object.fromEntries(methods.map((key) => [key, channel(RPC, key, [`${key}.request`])])),
      ...(methods.length > 0 && {
        replies: {
          address: null,
          description: `The queue that \`reply-to\` names: \`SERVICE.reply.INSTANCE\` of the caller${askers.length > 0 ? ` (${askers.join(', ')})` : ''}.`,
          messages: refs([...methods.map((key) => `${key}.reply`), 'problem']),
        },
      }),
    },
    operations: Object.fromEntries(all.map((each) => [idOf(each), operation(each)])),
    components: {
      messages: {
        ...Object.fromEntries(events.map((key) => [key, eventMessage(key)])),
        ...Object.fromEntries(methods.flatMap(methodMessages)),
        ...(methods.length > 0 && { problem: problemMessage() }),
      },
      schemas: {
        CloudEvent: envelope,
        ...(methods.length > 0 && { Problem: problemSchema() }),
        ...Object.fromEntries(events.map((key) => [key, schemaOf(event(key).schema, 'output')])),
      },
    },
  };
}

// --- From Rascal's configuration ---

interface Traffic {
  service: string;
  action: 'send' | 'receive';
  exchange: string;
  /** Routing key; also the name of the channel and its message. */
  key: string;
  queue?: string;
  deadLetterQueue?: string;
}

function sentBy(service: string, { vhosts }: BrokerConfig): Traffic[] {
  return Object.entries(vhosts.publish.publications ?? {}).map(([name, { exchange, routingKey = name }]) => {
    if (contractOf(exchange, routingKey) === undefined)
      throw new Error(
        `services/${service}/src/broker.ts publishes ${routingKey}, which no contract declares.`,
      );
    return { service, action: 'send', exchange, key: routingKey };
  });
}

function receivedBy(service: string, { vhosts }: BrokerConfig): Traffic[] {
  const { subscriptions = {}, bindings = {}, queues = {} } = vhosts.consume ?? {};
  return Object.values(subscriptions).flatMap(({ queue }) =>
    Object.values(bindings).flatMap(({ source, destination, bindingKey = '' }) => {
      if (destination !== queue || (source !== EVENTS && source !== RPC) || bindingKey === queue) return [];
      const keys = keysMatching(source, bindingKey);
      if (keys.length === 0)
        throw new Error(
          `services/${service}/src/broker.ts binds ${queue} to ${bindingKey}, which no contract declares.`,
        );
      const dlq = queues[queue]?.options?.arguments?.['x-dead-letter-routing-key'];
      return keys.map((key) => ({
        service,
        action: 'receive' as const,
        exchange: source,
        key,
        queue,
        ...(dlq !== undefined && { deadLetterQueue: String(dlq) }),
      }));
    }),
  );
}

/** Whether a service has a queue for replies: one that ends with its connection. */
const asks = ({ vhosts: { consume = {} } }: BrokerConfig): boolean =>
  Object.values(consume.subscriptions ?? {}).some(
    ({ queue }) => consume.queues?.[queue]?.options?.exclusive === true,
  );

/** The routing keys of contracts under a binding key of a topic exchange: `*` is a word, `#` any number of them. */
function keysMatching(exchange: string, bindingKey: string): string[] {
  const words = bindingKey
    .split('.')
    .map((word) => (word === '*' ? '[^.]+' : word === '#' ? '.*' : word.replace(/[^\w-]/g, '\\$&')));
  const pattern = new RegExp(`^${words.join('\\.').replaceAll('\\..*', '(\\..*)?')}$`);
  return declared
    .map(({ routingKey }) => routingKey)
    .filter((key) => contractOf(exchange, key) !== undefined && pattern.test(key));
}

// --- To AsyncAPI ---

const idOf = ({ service, action, exchange, key }: Traffic): string =>
  `${service}.${exchange === RPC ? 'handles' : action === 'send' ? 'publishes' : 'consumes'}.${key}`;

function operation({ service, action, exchange, key, queue, deadLetterQueue }: Traffic): object {
  const messages = [inChannel(key, exchange === RPC ? `${key}.request` : key)];
  return {
    action,
    channel: ref('channels', key),
    summary:
      exchange === RPC
        ? `${service} handles ${contractOf(RPC, key) && method(key).method}.`
        : `${service} ${action === 'send' ? 'publishes' : 'consumes'} ${event(key).type}.`,
    tags: [{ name: service }],
    messages,
    bindings: {
      amqp:
        action === 'send'
          ? { deliveryMode: 2, mandatory: true, timestamp: true, bindingVersion: AMQP }
          : { ack: true, bindingVersion: AMQP },
    },
    ...(exchange === RPC && {
      reply: {
        address: {
          location: '$message.header#/reply-to',
          description:
            'The AMQP property `reply-to`; `correlation-id` of the reply is `message-id` of the request.',
        },
        channel: ref('channels', 'replies'),
        messages: [inChannel('replies', `${key}.reply`), inChannel('replies', 'problem')],
      },
    }),
    ...(queue !== undefined && { 'x-queue': queue }),
    ...(deadLetterQueue !== undefined && { 'x-dead-letter-queue': deadLetterQueue }),
  };
}

function inWords(exchange: string, key: string, all: Traffic[]): string {
  const services = (action: Traffic['action']) =>
    all
      .filter((each) => each.exchange === exchange && each.key === key && each.action === action)
      .map(({ service }) => service)
      .join(', ') || 'nobody';
  return exchange === RPC
    ? `Handled by ${services('receive')}.`
    : `Published by ${services('send')}, consumed by ${services('receive')}.`;
}

function eventMessage(key: string): object {
  const { type, dataschema } = event(key);
  return {
    name: key,
    title: type,
    contentType: CONTENT_TYPE,
    correlationId: { location: '$message.payload#/correlationid' },
    headers: { type: 'object', properties: { traceparent } },
    payload: {
      allOf: [
        ref('components/schemas', 'CloudEvent'),
        {
          type: 'object',
          properties: {
            type: { const: type },
            dataschema: { enum: [dataschema, null] },
            data: ref('components/schemas', key),
          },
        },
      ],
    },
    bindings: { amqp: { messageType: type, bindingVersion: AMQP } },
  };
}

function methodMessages(key: string): [string, object][] {
  const { method: name, request, reply } = method(key);
  const headers = { type: 'object', properties: { 'x-correlation-id': { type: 'string' }, traceparent } };
  const message = (kind: string, payload: object) => ({
    name: `${key}.${kind}`,
    title: `${name}: ${kind}`,
    contentType: 'application/json',
    headers,
    payload,
    bindings: { amqp: { messageType: name, bindingVersion: AMQP } },
  });
  return [
    [`${key}.request`, message('request', schemaOf(request, 'output'))],
    [`${key}.reply`, message('reply', schemaOf(reply, 'output'))],
  ];
}

const problemMessage = () => ({
  name: 'problem',
  title: 'Problem instead of a reply',
  contentType: 'application/problem+json',
  payload: ref('components/schemas', 'Problem'),
});

/** As over HTTP. */
const problemSchema = () =>
  describeApi({ name: 'any', version: '1', routes: [get('/', { access: 'public' }, async () => ({}))] })
    .components?.schemas?.Problem;

const traceparent = { type: 'string', description: 'W3C trace context, if tracing is on.' };

const text = { type: 'string', minLength: 1 };
/** A null is an absent attribute. */
const optional = { type: ['string', 'null'] };

/** What consumers accept. https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md */
const envelope: JsonSchema = {
  type: 'object',
  description:
    'CloudEvents 1.0, structured JSON. Consumers also accept the data in Base64, as `data_base64`.',
  properties: {
    specversion: { const: '1.0' },
    id: {
      ...text,
      maxLength: 255,
      description:
        "Of the event, however often it is delivered; also `message-id`. Warren's own have a UUID.",
    },
    source: { ...text, description: 'The publisher, e.g. `/user`.' },
    type: { ...text },
    time: {
      ...optional,
      format: 'date-time',
      description: 'The time of the event; if it is missing, the `timestamp` of the message counts.',
    },
    datacontenttype: {
      ...optional,
      pattern: '^[^/;\\s]+/([^/;\\s]+\\+)?[jJ][sS][oO][nN]\\s*(;.*)?$',
      description: 'A media type of JSON.',
    },
    dataschema: { ...optional, minLength: 1, description: 'Names type and version.' },
    subject: { ...optional, minLength: 1, description: 'Id of the aggregate that the event is about.' },
    correlationid: { ...optional, maxLength: 255, description: 'Of the request that started everything.' },
    causationid: {
      ...optional,
      maxLength: 255,
      description: 'Id of the event that caused this one; missing if a request caused it.',
    },
    traceparent: { ...optional, description: traceparent.description },
    data: { type: 'object' },
  },
  required: ['specversion', 'id', 'source', 'type', 'data'],
};

function event(key: string): AnyEvent {
  return contractOf(EVENTS, key) as AnyEvent;
}

function method(key: string): AnyMethod {
  return contractOf(RPC, key) as AnyMethod;
}

/** Whoever reads ignores fields it does not know, requests too. */
function schemaOf(schema: AnyEvent['schema'], direction: 'output'): JsonSchema {
  const described = jsonSchemaOf(schema, direction);
  for (const path of personalFields({ schema })) markPersonal(described, path);
  return described;
}

/** An extension of the schema: JSON Schema has no keyword for it. Not in alternatives, which no contract has. */
function markPersonal(schema: JsonSchema | undefined, path: readonly string[]): void {
  const [name, ...rest] = path;
  if (name !== undefined) markPersonal(name === '*' ? schema?.items : schema?.properties?.[name], rest);
  else if (schema !== undefined) schema['x-personal'] = true;
}

const ref = (where: string, name: string) => ({ $ref: `#/${where}/${name}` });
const inChannel = (channel: string, message: string) => ref(`channels/${channel}/messages`, message);
const refs = (messages: string[]) =>
  Object.fromEntries(messages.map((name) => [name, ref('components/messages', name)]));
