// A service that has no broker.ts, because it is in another language or another repository: its AsyncAPI document says what it does
// on the broker, and so what its user may do there.
import { type Definitions, platformDefinitions } from '../../packages/testkit/src/index.ts';

/** An AsyncAPI 3.0 document, as far as it is read here. Its channels have the names of their routing keys. */
export interface ForeignDocument {
  info: { title: string };
  channels: Record<string, { 'x-may-go-unconsumed'?: boolean }>;
  operations: Record<
    string,
    { action: 'send' | 'receive'; channel: { $ref: string }; 'x-callers'?: readonly string[] }
  >;
}

const NAME = /^[a-z][a-z0-9-]*$/;
const KEY = /^#\/channels\/([a-z][a-z0-9-]*(?:\.[a-z0-9]+)+\.v\d+)$/;

/**
 * The exchanges of the platform, and the user of the service with its permissions. What it receives under the name of another service
 * are events, what it sends there are calls; what it receives under its own name are the requests of its `x-callers`.
 * @throws {Error} when the document names no service, or an operation no routing key
 */
export function foreignDefinitions({ info, channels, operations }: ForeignDocument): Definitions {
  const service = info?.title;
  if (!NAME.test(service ?? ''))
    throw new Error(
      `info.title must be the name of the service in lower case, such as points, not '${service}'`,
    );
  const traffic = Object.entries(operations ?? {}).map(([name, operation]) => {
    const [, key] = KEY.exec(operation.channel?.$ref ?? '') ?? [];
    if (key === undefined)
      throw new Error(
        `operations.${name}.channel must refer to a channel such as #/channels/order.confirmed.v1`,
      );
    return { key, own: key.startsWith(`${service}.`), ...operation };
  });
  const keysOf = (action: string, own: boolean) =>
    traffic.filter((each) => each.action === action && each.own === own).map(({ key }) => key);
  const keys = {
    consumes: keysOf('receive', false),
    calls: keysOf('send', false),
    answers: traffic.flatMap(({ action, own, 'x-callers': callers = [] }) =>
      action === 'receive' && own ? callers : [],
    ),
  };
  const mayGoUnconsumed = Object.keys(channels ?? {}).filter((key) => channels[key]?.['x-may-go-unconsumed']);
  return platformDefinitions([service], () => keys, mayGoUnconsumed);
}

/** One definitions file of several; an object that two of them have is in it twice, and imported once. */
export function merged(all: readonly Definitions[]): Definitions {
  const lists = ['exchanges', 'queues', 'bindings', 'users', 'permissions', 'topic_permissions'] as const;
  const together = (list: (typeof lists)[number]) => all.flatMap((each): unknown[] => each[list] ?? []);
  return Object.fromEntries(lists.map((list) => [list, together(list)])) as Definitions;
}
