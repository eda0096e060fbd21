import { randomBytes } from 'node:crypto';
import { findJson } from '../find-json.ts';
import type { Management } from './management.ts';

/** RabbitMQ's definitions file, as far as Warren uses it. Objects belong to the vhost they name. */
export interface Definitions {
  exchanges?: DefinedExchange[];
  queues?: DefinedQueue[];
  bindings?: DefinedBinding[];
  policies?: { vhost?: string; name: string; [property: string]: unknown }[];
  users?: { name: string; tags?: string | string[]; limits?: UserLimits; [property: string]: unknown }[];
  permissions?: { user: string; vhost?: string; configure: string; write: string; read: string }[];
  topic_permissions?: { user: string; vhost?: string; exchange: string; write: string; read: string }[];
  [other: string]: unknown;
}

/** What a user may have open at once on all nodes together; -1: any number. */
interface UserLimits {
  'max-connections'?: number;
  'max-channels'?: number;
}

interface DefinedExchange {
  name: string;
  vhost?: string;
  type: string;
  durable?: boolean;
  auto_delete?: boolean;
  internal?: boolean;
  arguments?: object;
}
interface DefinedQueue {
  name: string;
  vhost?: string;
  durable?: boolean;
  auto_delete?: boolean;
  type?: string;
  arguments?: object;
}
interface DefinedBinding {
  source: string;
  vhost?: string;
  destination: string;
  destination_type: string;
  routing_key: string;
  arguments?: object;
}

/** Where the platform's definitions lie in a checkout. */
export const definitionsPath = 'charts/rabbitmq/files/definitions.json';

/** The definitions file of the checkout that `from` lies in, if it has one. */
export const findDefinitions = (from = process.cwd()): Definitions | undefined =>
  findJson<Definitions>(definitionsPath, from);

/** Replicas of a service that its user's limits have room for. */
const REPLICAS = 20;
/**
 * Twice what they hold: the broker may count lost connections until their heartbeats are missed. A replica has at most 6
 * connections, a channel on each, and one for each of its queues, of which 10 are reckoned with.
 */
const limits: UserLimits = { 'max-connections': 2 * 6 * REPLICAS, 'max-channels': 2 * (6 + 10) * REPLICAS };

/** Routing keys that a service's user may use on the shared exchanges, besides those of its own name. */
export interface Keys {
  /** Of the events it subscribes to. */
  consumes: readonly string[];
  /** Of the methods it calls. */
  calls: readonly string[];
  /** Services whose requests it handles. */
  answers: readonly string[];
}

/**
 * What the platform gives to services of these names: the shared exchanges, and a user each that can touch nothing of another's,
 * and has a limit of connections and channels.
 * For tests of services that no definitions file knows.
 * @param keysOf what a service may subscribe to, call and reply to; default: all
 * @param mayGoUnconsumed routing keys of events that do not go to `unrouted` when no queue takes them
 */
export function platformDefinitions(
  services: string[],
  keysOf: (service: string) => Keys | undefined = () => undefined,
  mayGoUnconsumed: readonly string[] = [],
): Definitions {
  const vhost = '/';
  return {
    exchanges: [
      exchange('events', 'topic', { 'alternate-exchange': 'unrouted' }),
      exchange('rpc', 'topic'),
      exchange('unrouted', 'fanout'),
      // It has no queue. A binding to it is a route, so the alternate exchange is not used.
      exchange('unconsumed', 'fanout', {}, true),
    ],
    queues: [
      {
        name: 'unrouted',
        vhost,
        durable: true,
        auto_delete: false,
        arguments: { 'x-queue-type': 'quorum', 'x-max-length': 10_000, 'x-overflow': 'drop-head' },
      },
    ],
    bindings: [
      {
        source: 'unrouted',
        vhost,
        destination: 'unrouted',
        destination_type: 'queue',
        routing_key: '',
        arguments: {},
      },
      ...mayGoUnconsumed.map((routing_key) => ({
        source: 'events',
        vhost,
        destination: 'unconsumed',
        destination_type: 'exchange',
        routing_key,
        arguments: {},
      })),
    ],
    users: services.map((name) => ({ name, tags: [], limits })),
    permissions: services.map((user) => ({
      user,
      vhost,
      configure: `^${literally(user)}\\.`,
      write: `^(${literally(user)}\\..*|events|rpc)$`,
      read: `^(${literally(user)}\\..*|events|rpc)$`,
    })),
    topic_permissions: services.flatMap((user) => {
      const own = `^${literally(user)}\\.`;
      const keys = keysOf(user);
      return [
        { user, vhost, exchange: 'events', write: own, read: keys ? exactly(keys.consumes) : '.*' },
        {
          user,
          vhost,
          exchange: 'rpc',
          write: keys ? anyOf(keys.calls.map(exact), keys.answers.map(repliesTo)) : '.*',
          read: own,
        },
      ];
    }),
  };
}

const exact = (key: string) => `${literally(key)}$`;
const repliesTo = (service: string) => `${literally(service)}\\.reply\\.`;
const exactly = (keys: readonly string[]) => anyOf(keys.map(exact));
/** A pattern that matches from the start; of nothing, one that matches no routing key. */
const anyOf = (...patterns: string[][]) => {
  const all = patterns.flat();
  return all.length === 0 ? '^$' : `^(${all.join('|')})`;
};

export interface LoadOptions {
  management: Management;
  /** URL of the operator's user on any vhost: gives host and port. */
  brokerUrl: string;
  /** Made when it is not there. */
  vhost: string;
  definitions: Definitions;
  /** The only services to make users for. Default: all that the definitions name. */
  services?: string[];
  /** The broker ends with this process: nothing has to be deleted from it when this process is killed. */
  disposable?: boolean;
}

export interface Loaded {
  /** AMQP URL of a service's restricted user on this vhost. @throws when the definitions name no such service */
  url(service: string): string;
  /** AMQP URL of the operator on this vhost. */
  operatorUrl: string;
  /** The operator's user. */
  operator: string;
  /** As `url`; a user is made for a service that has none. */
  makeUrl(service: string): Promise<string>;
  vhost: string;
  services: string[];
  /** Deletes the vhost, with all that is in it, and the users. */
  remove(): Promise<void>;
}

/**
 * Applies definitions to a vhost of its own. The users get new passwords, and names that carry the vhost, so that several
 * vhosts, and the real users of a shared broker, live side by side.
 *
 * @example
 * const loaded = await loadDefinitions({ management, brokerUrl, vhost: 'demo', definitions: findDefinitions()! });
 * spawn('node', ['src/main.ts'], { env: { AMQP_URL: loaded.url('user') } });
 */
export async function loadDefinitions(options: LoadOptions): Promise<Loaded> {
  const { management: api, vhost, definitions, brokerUrl } = options;
  const at = encodeURIComponent(vhost);
  const operator = new URL(brokerUrl);
  const operatorName = decodeURIComponent(operator.username) || 'guest';
  const names = definitions.users?.map(({ name }) => name) ?? [];
  const services = options.services ?? names;
  const passwords = new Map<string, string>();
  const account = (service: string) => `${vhost}.${service}`;
  const removals: (() => Promise<unknown>)[] = [];
  const removeLater = (path: string) =>
    removals.push(options.disposable ? () => api.request('DELETE', path) : api.deleteLater(path));

  const remove = async () => {
    for (const removal of removals.reverse()) await removal();
  };

  const makeUser = async (service: string, from: Definitions) => {
    const user = encodeURIComponent(account(service));
    const password = randomBytes(16).toString('hex');
    removeLater(`users/${user}`);
    const { limits } = from.users?.find(({ name }) => name === service) ?? {};
    await api.request('PUT', `users/${user}`, { password, tags: '', ...(limits ? { limits } : {}) });
    for (const { user: of, vhost: _, ...permission } of from.permissions ?? [])
      if (of === service) await api.request('PUT', `permissions/${at}/${user}`, permission);
    for (const { user: of, vhost: _, ...permission } of from.topic_permissions ?? [])
      if (of === service) await api.request('PUT', `topic-permissions/${at}/${user}`, permission);
    passwords.set(service, password);
  };
  const making = new Map<string, Promise<void>>();

  try {
    removeLater(`vhosts/${at}`);
    await api.request('PUT', `vhosts/${at}`, {});
    await api.request('PUT', `permissions/${at}/${encodeURIComponent(operatorName)}`, everything);

    for (const { name, vhost: _, ...exchange } of definitions.exchanges ?? []) {
      await api.request('PUT', `exchanges/${at}/${encodeURIComponent(name)}`, exchange);
    }
    for (const { name, vhost: _, type, ...queue } of definitions.queues ?? []) {
      const typed = type ? { ...queue, arguments: { 'x-queue-type': type, ...queue.arguments } } : queue;
      await api.request('PUT', `queues/${at}/${encodeURIComponent(name)}`, typed);
    }
    for (const {
      source,
      destination,
      destination_type,
      routing_key,
      arguments: args,
    } of definitions.bindings ?? []) {
      const kind = destination_type === 'queue' ? 'q' : 'e';
      await api.request(
        'POST',
        `bindings/${at}/e/${encodeURIComponent(source)}/${kind}/${encodeURIComponent(destination)}`,
        { routing_key, arguments: args ?? {} },
      );
    }
    for (const { name, vhost: _, ...policy } of definitions.policies ?? []) {
      await api.request('PUT', `policies/${at}/${encodeURIComponent(name)}`, policy);
    }
    // After the exchanges: RabbitMQ 4.3 returns 400 for a topic permission on a missing exchange.
    for (const service of services) {
      if (!names.includes(service))
        throw new Error(`the definitions name no user '${service}', only: ${names.join(', ')}`);
      await makeUser(service, definitions);
    }
  } catch (error) {
    await remove().catch(() => {});
    throw error;
  }

  const urlOf = (user: string, password: string) => {
    const url = new URL(brokerUrl);
    url.username = encodeURIComponent(user);
    url.password = encodeURIComponent(password);
    url.pathname = `/${at}`;
    return url.href;
  };

  return {
    vhost,
    services,
    operator: operatorName,
    async makeUrl(service) {
      if (!passwords.has(service)) {
        const made =
          making.get(service) ??
          makeUser(service, names.includes(service) ? definitions : platformDefinitions([service]));
        making.set(service, made);
        await made;
      }
      return urlOf(account(service), passwords.get(service) as string);
    },
    operatorUrl: urlOf(operatorName, decodeURIComponent(operator.password) || 'guest'),
    url(service) {
      const password = passwords.get(service);
      if (!password || !services.includes(service)) {
        throw new Error(
          `no broker user was made for '${service}', only for: ${services.join(', ') || '(nobody)'}`,
        );
      }
      return urlOf(account(service), password);
    },
    remove,
  };
}

const everything = { configure: '.*', write: '.*', read: '.*' };

function exchange(name: string, type: string, args: object = {}, internal = false): DefinedExchange {
  return { name, vhost: '/', type, durable: true, auto_delete: false, internal, arguments: args };
}

const literally = (name: string) => name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
