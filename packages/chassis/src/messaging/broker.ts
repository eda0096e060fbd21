// What a service has on the broker, declared once, in Rascal's words. topology.ts expands it to Rascal configuration; the types of
// a service's handlers and methods come from it (handlers.ts, rpc/serve.ts).
import type { AnyEvent, AnyMethod } from '@warren/events';
import { WarrenError } from '../errors.ts';
import type { Duration, RETRY_DELAYS } from './retry-delays.ts';

/**
 * A quorum queue of one event, bound to the exchange `events`. A message whose handler failed waits in the levels of `retry`, one
 * after the other, and goes to `deadLetters` after the last. So does one that was delivered more than `redeliveries.limit` times
 * and never settled: it crashes its consumer.
 */
export interface EventQueue<Queue extends string = string> {
  /** Versions of one event share its queue. */
  readonly event: AnyEvent | readonly [AnyEvent, ...AnyEvent[]];
  /** Messages in flight to a replica: a batch, and the next one. */
  readonly prefetch: number;
  /** The argument `x-delivery-limit`: fixed when the queue is first declared. */
  readonly redeliveries: { readonly limit: number };
  readonly retry: readonly Duration[] | typeof RETRY_DELAYS;
  readonly deadLetters: `${Queue}.dlq`;
}

/** A quorum queue of the requests to a service, bound to the exchange `rpc`. No dead letters: the caller does not wait that long. */
export interface RequestQueue<Methods = Record<string, AnyMethod>> {
  /** By their routing keys. */
  readonly methods: Methods;
  /** More than one caller's share (rpc/server.ts), so that the requests of others are seen behind the flood of one. */
  readonly prefetch: number;
  readonly redeliveries: { readonly limit: number };
}

/** The queue of the replies to a service that calls others: `SERVICE.reply.INSTANCE`, classic, deleted with its connection. */
export interface ReplyQueue {
  readonly exclusive: true;
  readonly prefetch: number;
}

export type Subscriptions = Readonly<Record<string, EventQueue | RequestQueue | ReplyQueue>>;

/** Two entries of Rascal, one RabbitMQ vhost: a broker that blocks publishers must not stop the consumers that would relieve it. */
export interface BrokerDefinition<Service extends string = string, Declared = Subscriptions> {
  readonly service: Service;
  readonly vhosts: {
    readonly publish: {
      /** By their routing keys. */
      readonly publications?: Readonly<Record<string, AnyEvent>>;
    };
    readonly consume?: { readonly subscriptions: Declared };
  };
}

/** A routing key of the service's own: of an event that it publishes, of a method that it handles. */
type OwnKey<Service extends string> = `${Service}.${string}.v${number}`;

type OwnMethods<Service extends string, Methods> = {
  readonly [Key in keyof Methods]: Key extends OwnKey<Service> ? AnyMethod : never;
};

/** Nothing that would be ignored. */
type Only<Wanted, Given> = Wanted & { readonly [Key in Exclude<keyof Given, keyof Wanted>]: never };

/** What each subscription has to be, by its name. Names that are known at run time alone are checked then. */
type SubscriptionsOf<Service extends string, Declared> = {
  readonly [Name in keyof Declared]: string extends Name
    ? Declared[Name]
    : Only<
        Name extends `${Service}.rpc`
          ? RequestQueue<
              OwnMethods<Service, Declared[Name] extends RequestQueue<infer Methods> ? Methods : never>
            >
          : Name extends `${Service}.reply`
            ? ReplyQueue
            : Name extends `${Service}.${string}`
              ? EventQueue<Name>
              : never,
        Declared[Name]
      >;
};

/**
 * Declares what a service has on the broker: the publications it may make, and the queues it subscribes to. Every name is the one
 * that the broker shows.
 * @example
 * export const broker = defineBroker('session', {
 *   vhosts: {
 *     publish: { publications: { 'session.opened.v1': sessionOpened } },
 *     consume: {
 *       subscriptions: {
 *         'session.user.created': {
 *           event: userCreated,
 *           prefetch: 200,
 *           redeliveries: { limit: 10 },
 *           retry: RETRY_DELAYS,
 *           deadLetters: 'session.user.created.dlq',
 *         },
 *         'session.rpc': { methods: { 'session.list.v1': listSessions }, prefetch: 1_100, redeliveries: { limit: 10 } },
 *       },
 *     },
 *   },
 * });
 * @throws {WarrenError} `invalid_service`, when a name is not that of its event or method
 */
export function defineBroker<
  const Service extends string,
  // biome-ignore lint/complexity/noBannedTypes: no subscriptions
  const Declared extends Subscriptions = {},
>(
  service: Service,
  declaration: {
    vhosts: {
      publish: { publications?: { readonly [Key in OwnKey<Service>]?: AnyEvent } };
      consume?: { subscriptions: Declared & SubscriptionsOf<Service, Declared> };
    };
  },
): BrokerDefinition<Service, Declared> {
  const definition = { service, ...declaration } as BrokerDefinition<Service, Declared>;
  for (const [given, wanted] of namesOf(definition))
    if (given !== wanted)
      throw new WarrenError(
        'invalid_service',
        `broker.ts of ${service}: '${given}' has to be named '${wanted}'`,
      );
  return definition;
}

type AnyBroker = BrokerDefinition<string, object>;

/** The queues of events, by their names. */
export const eventQueues = (broker: AnyBroker | undefined): [string, EventQueue][] =>
  subscriptionsOf(broker).filter((each): each is [string, EventQueue] => 'event' in each[1]);

/** The queue of requests, if the service handles any. */
export const requestQueues = (broker: AnyBroker | undefined): [string, RequestQueue][] =>
  subscriptionsOf(broker).filter((each): each is [string, RequestQueue] => 'methods' in each[1]);

/** The subscription to replies, if the service calls others. */
export const replyQueues = (broker: AnyBroker | undefined): [string, ReplyQueue][] =>
  subscriptionsOf(broker).filter((each): each is [string, ReplyQueue] => 'exclusive' in each[1]);

export const versionsOf = ({ event }: EventQueue): readonly AnyEvent[] => [event].flat();

const subscriptionsOf = (broker: AnyBroker | undefined) =>
  Object.entries((broker?.vhosts.consume?.subscriptions ?? {}) as Subscriptions);

/** Names as they are given, each with what it has to be. */
const namesOf = (broker: AnyBroker): [string, string][] => [
  ...keysOf(broker.vhosts.publish.publications ?? {}),
  ...eventQueues(broker).flatMap(([queue, declared]) =>
    versionsOf(declared).map(({ type }): [string, string] => [queue, `${broker.service}.${type}`]),
  ),
  ...requestQueues(broker).flatMap(([, { methods }]) => keysOf(methods)),
];

const keysOf = (named: Readonly<Record<string, AnyEvent | AnyMethod>>): [string, string][] =>
  Object.entries(named).map(([key, { routingKey }]) => [key, routingKey]);
