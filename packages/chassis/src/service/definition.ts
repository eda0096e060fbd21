// The definition of a service: its parts, and a check that they fit together.
import type { Joi } from '@warren/events';
import { WarrenError } from '../errors.ts';
import type { EdgeHandler, EdgeTools } from '../http/edge.ts';
import type { Route } from '../http/routes.ts';
import type { Subscription } from '../messaging/handlers.ts';
import type { BrokerConfig } from '../messaging/rascal/rascal.ts';
import { type BrokerSettings, defaultBrokerSettings, workQueueName } from '../messaging/topology.ts';
import { servedKeys, subscribedQueues } from '../messaging/verify-topology.ts';
import type { RpcHandler } from '../rpc/serve.ts';
import type { Worker } from '../tasks/worker.ts';
import type { CounterDefinition } from '../telemetry/counters.ts';

/** What a service is. Everything but its name and version is optional: a gateway has no database, a sweeper no routes. */
// biome-ignore lint/suspicious/noExplicitAny: see WorkContext
export interface ServiceDescription<Config = any, Schema = any> {
  /** Lower case, no dots: it begins the names of its queues, its database and its broker user. */
  name: string;
  version: string;
  /** Its environment variables, over the chassis's own. */
  config?: Joi.PartialSchemaMap<Config>;
  /** Directory of its migrations. With it, it has a database: outbox, inbox and tasks. */
  migrations?: URL;
  /** Its Rascal configuration. With it, it has messaging. */
  broker?: (settings: BrokerSettings) => BrokerConfig;
  routes?: readonly Route<Schema, Config>[];
  handlers?: readonly Subscription[];
  workers?: readonly Worker[];
  /** What it answers over the broker; broker.ts `serves` the same. */
  methods?: readonly RpcHandler[];
  /** Creates the handler of raw HTTP, for a service that stands in front of others. */
  edge?: (config: Config, tools: EdgeTools) => EdgeHandler;
  /** Its own metrics, over those of the chassis. */
  counters?: readonly CounterDefinition[];
}

/**
 * Describes a service.
 * @throws {WarrenError} `invalid_service`, when the parts do not fit: a handler for an event that broker.ts does not subscribe to, a publication
 * or a method under another service's name, handlers without a database
 */
export function defineService<Config, Schema>(
  description: ServiceDescription<Config, Schema>,
): ServiceDescription<Config, Schema> {
  const { name, broker, migrations, handlers = [], workers = [], methods = [] } = description;
  const wrong = (what: string) => new WarrenError('invalid_service', `service ${name}: ${what}`);
  if (!/^[a-z][a-z0-9-]*$/.test(name)) throw wrong('a name is lower case, without dots');
  if (handlers.length > 0 && (broker === undefined || migrations === undefined))
    throw wrong('handlers need a broker.ts, and migrations for the inbox');
  if (workers.length > 0 && migrations === undefined) throw wrong('workers need migrations');
  if (methods.length > 0 && broker === undefined) throw wrong('methods need a broker.ts');
  if (broker === undefined) return description;

  const config = broker(defaultBrokerSettings);
  for (const key of Object.keys(config.vhosts.publish.publications ?? {}))
    if (!key.startsWith(`${name}.`))
      throw wrong(`may not publish ${key}: only events named ${name}.… are its own`);
  const heard = new Set(handlers.map(({ event }) => workQueueName(name, event)));
  const queues = new Set(subscribedQueues(name, config));
  for (const queue of heard) if (!queues.has(queue)) throw wrong(`broker.ts has no subscription to ${queue}`);
  for (const queue of queues)
    if (!heard.has(queue)) throw wrong(`no handler for the subscription to ${queue}`);

  const served = methods.map(({ method }) => method.routingKey);
  for (const key of served) {
    if (!key.startsWith(`${name}.`))
      throw wrong(`may not serve ${key}: only methods named ${name}.… are its own`);
    if (served.indexOf(key) !== served.lastIndexOf(key)) throw wrong(`serves ${key} twice`);
  }
  const bound = servedKeys(name, config);
  for (const key of served) if (!bound.includes(key)) throw wrong(`broker.ts does not serve ${key}`);
  for (const key of bound)
    if (!served.includes(key)) throw wrong(`nobody answers ${key}, which broker.ts serves`);
  return description;
}
