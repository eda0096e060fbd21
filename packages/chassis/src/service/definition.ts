// The definition of a service: its parts, which its broker.ts holds together.
import type { Joi } from '@warren/events';
import { WarrenError } from '../errors.ts';
import type { EdgeHandler, EdgeTools } from '../http/edge.ts';
import type { Route } from '../http/routes.ts';
import { type BrokerDefinition, eventQueues } from '../messaging/broker.ts';
import type { AnyHandlers, Handlers } from '../messaging/handlers.ts';
import type { AnyMethods, Methods } from '../rpc/serve.ts';
import type { Worker } from '../tasks/worker.ts';
import type { CounterDefinition } from '../telemetry/counters.ts';

/** The parts of a service. Everything but its name and version is optional: a gateway has no database, a sweeper no routes. */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export interface ServiceDescription<Config = any, Schema = any> {
  /** Lower case, no dots: it begins the names of its queues, its database and its broker user. */
  name: string;
  version: string;
  /** Its environment variables, in addition to the chassis's own. */
  config?: Joi.PartialSchemaMap<Config>;
  /** Directory of its migrations. A service with migrations has a database: outbox, inbox and tasks. */
  migrations?: URL;
  /** The declaration of broker.ts. A service that has one has messaging. */
  broker?: BrokerDefinition;
  routes?: readonly Route<Schema, Config>[];
  /** By the names of the queues of events in broker.ts. */
  handlers?: AnyHandlers;
  workers?: readonly Worker[];
  /** By the routing keys of the methods in broker.ts. */
  methods?: AnyMethods;
  /** Creates the handler of raw HTTP, for a service that stands in front of others. */
  edge?: (config: Config, tools: EdgeTools) => EdgeHandler;
  /** Its own metrics, in addition to those of the chassis. */
  counters?: readonly CounterDefinition[];
}

/** A description whose name, handlers and methods are those that its broker.ts requires. */
type Fitting<Config, Schema, Broker> = Omit<
  ServiceDescription<Config, Schema>,
  'name' | 'broker' | 'handlers' | 'methods'
> &
  (Broker extends BrokerDefinition<infer Service, unknown>
    ? { name: Service; broker: Broker }
    : { name: string; broker?: never }) &
  Part<'handlers', Handlers<Broker, Schema, Config>> &
  Part<'methods', Methods<Broker, Schema, Config>>;

/** Required if broker.ts declares any, otherwise not allowed. */
type Part<Name extends string, Wanted> = [keyof Wanted] extends [never]
  ? { [Key in Name]?: never }
  : { [Key in Name]: Wanted };

/**
 * Describes a service. A handler or a method that its broker.ts does not declare, or one that is missing, does not compile.
 * @example
 * export const service = defineService<OrderConfig, OrderSchema, typeof broker>({ name: 'order', broker, handlers, … });
 * @throws {WarrenError} `invalid_service`, when the parts do not fit: handlers or workers without a database
 */
export function defineService<
  // biome-ignore lint/suspicious/noExplicitAny: see WorkContext
  Config = any,
  // biome-ignore lint/suspicious/noExplicitAny: see WorkContext
  Schema = any,
  Broker extends BrokerDefinition<string, object> | undefined = undefined,
>(description: Fitting<Config, Schema, Broker>): ServiceDescription<Config, Schema> {
  const described = description as ServiceDescription<Config, Schema>;
  const { name, broker, migrations, workers = [] } = described;
  const wrong = (what: string) => new WarrenError('invalid_service', `service ${name}: ${what}`);
  if (!/^[a-z][a-z0-9-]*$/.test(name)) throw wrong('a name is lower case, without dots');
  if (eventQueues(broker).length > 0 && migrations === undefined)
    throw wrong('handlers need migrations for the inbox');
  if (workers.length > 0 && migrations === undefined) throw wrong('workers need migrations');
  return described;
}
