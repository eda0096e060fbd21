// Everything on the broker: the platform's objects from the definitions file, those of the services from their broker.ts.
import type { BrokerConfig } from '../../packages/chassis/src/index.ts';
import type { Definitions } from '../../packages/testkit/src/index.ts';
import { read } from '../tree.ts';
import { code, codes, table } from './table.ts';

export function brokerTables(configs: Map<string, BrokerConfig>): Record<string, string> {
  const vhosts = [...configs].map(([service, config]) => vhostOf(service, config));
  return {
    'broker-platform': table(['object', 'type', 'bound to', 'arguments'], platformRows()),
    'broker-objects': table(['queue', 'bound to', 'prefetch', 'arguments'], patternRows(vhosts)),
    'broker-queues': table(
      ['service', 'publishes', 'consumes events and handles methods', 'from the queue'],
      vhosts.flatMap(({ service, publications, queues }) => {
        const consumed = queues.filter(({ prefetch, bindings }) => prefetch !== '' && bindings.length > 0);
        const rows = consumed.map(({ name, bindings }) => [
          codes(bindings.filter(({ source }) => source in SHARED).map(({ bindingKey }) => bindingKey)),
          code(name),
        ]);
        return [...(rows.length > 0 ? rows : [['', '']])].map((cells, at) => [
          at === 0 ? service : '',
          at === 0 ? codes(publications) : '',
          ...cells,
        ]);
      }),
    ),
  };
}

/** The exchanges that services share, and what their routing keys name. */
const SHARED: Record<string, string> = { events: 'TYPE', rpc: 'METHOD' };

function platformRows(): string[][] {
  const {
    exchanges = [],
    queues = [],
    bindings = [],
  } = JSON.parse(read('charts/rabbitmq/files/definitions.json')) as Definitions;
  const from = (name: string) =>
    bindings
      .filter(({ destination }) => destination === name)
      .map(({ source, routing_key }) => boundTo(source, routing_key))
      .join(', ');
  return [
    ...exchanges.map((each) => [
      `exchange ${code(each.name)}`,
      each.type,
      from(each.name),
      argumentsOf(each.arguments),
    ]),
    ...queues.map((each) => [
      `queue ${code(each.name)}`,
      'quorum',
      from(each.name),
      argumentsOf(each.arguments),
    ]),
  ];
}

interface Queue {
  name: string;
  bindings: { source: string; bindingKey: string }[];
  prefetch: string;
  arguments: object | undefined;
}
interface Vhost {
  service: string;
  publications: string[];
  queues: Queue[];
}

/** What a service has, its two vhost entries taken together. */
function vhostOf(service: string, { vhosts }: BrokerConfig): Vhost {
  const all = Object.values(vhosts);
  const of = (name: string) => ({
    bindings: all
      .flatMap(({ bindings = {} }) => Object.values(bindings))
      .filter(({ destination }) => destination === name)
      .map(({ source, bindingKey }) => ({ source, bindingKey: String(bindingKey ?? '') })),
    prefetch: all
      .flatMap(({ subscriptions = {} }) => Object.values(subscriptions))
      .filter(({ queue }) => queue === name)
      .map(({ prefetch }) => String(prefetch))
      .join(),
  });
  return {
    service,
    publications: all.flatMap(({ publications = {} }) => Object.keys(publications)),
    queues: all.flatMap(({ queues = {} }) =>
      Object.entries(queues).map(([name, { options }]) => ({
        name,
        ...of(name),
        arguments: options?.arguments as object | undefined,
      })),
    ),
  };
}

/** One row for the queues of all services that differ in the names of service, event, method or level alone. */
function patternRows(vhosts: Vhost[]): string[][] {
  const rows = vhosts.flatMap(({ service, queues }) => {
    const general = generalizer(service, queues);
    return queues.map(({ name, bindings, prefetch, arguments: given }) => [
      code(general(name)),
      [
        ...new Set(bindings.map(({ source, bindingKey }) => boundTo(general(source), general(bindingKey)))),
      ].join(', '),
      prefetch,
      general(argumentsOf(given)),
    ]);
  });
  return [...new Map(rows.map((row) => [row.join(' '), row])).values()];
}

/** Replaces the names of one service's events, methods and delays, and its own, by SERVICE, TYPE, METHOD and LEVEL. */
function generalizer(service: string, queues: Queue[]): (text: string) => string {
  const bindings = queues.flatMap((queue) => queue.bindings);
  const names = bindings.flatMap(({ source, bindingKey }): [string, string][] => {
    const [, name, version] = /^(.+)\.(v\d+)$/.exec(bindingKey) ?? [];
    if (source === `${service}.retry`) return [[bindingKey, 'LEVEL']];
    return source in SHARED && name !== undefined
      ? [
          [`${name}.${version}`, `${SHARED[source]}.vN`],
          [name, SHARED[source] as string],
        ]
      : [];
  });
  return (text) =>
    [...names, [service, 'SERVICE'] as const].reduce(
      (changed, [name, general]) =>
        changed.replace(new RegExp(`(?<![\\w])${name.replaceAll('.', '\\.')}(?!\\w)`, 'g'), general),
      text,
    );
}

const boundTo = (source: string, key: string) => `${code(source)}${key ? ` by ${code(key)}` : ''}`;

const argumentsOf = (given: object = {}): string =>
  Object.entries(given)
    .map(([name, value]) => code(`${name}: ${value}`))
    .join(', ');
