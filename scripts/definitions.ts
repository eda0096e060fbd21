// Writes the definitions file of RabbitMQ, with the objects that no service declares: the shared exchanges, and a user for each
// service with a broker.ts. A user can access only the objects of its service, read the events that its broker.ts subscribes to,
// and call the methods whose contract names it. With --check it only reports whether the file is out of date.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as contracts from '../packages/contracts/src/index.ts';
import type { AnyEvent, AnyMethod } from '../packages/events/src/index.ts';
import { type Keys, platformDefinitions } from '../packages/testkit/src/index.ts';
import { brokerConfigs } from './brokers.ts';
import { root } from './tree.ts';

const configs = await brokerConfigs();
const definitions = {
  vhosts: [{ name: '/' }],
  ...platformDefinitions([...configs.keys()], keysOf, mayGoUnconsumed()),
};
const file = 'charts/rabbitmq/files/definitions.json';
const path = join(root, file);
const wanted = `${JSON.stringify(definitions, null, 2)}\n`;

if (process.argv.includes('--check')) {
  if (readIfThere(path) !== wanted) {
    console.error(`${file} differs from the services' broker.ts: run \`make definitions\``);
    process.exitCode = 1;
  }
} else {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, wanted);
  console.log(`${file}: users for ${[...configs.keys()].join(', ')}`);
}

/** The rights of a service, from its broker.ts and the contracts of methods. */
function keysOf(service: string): Keys {
  const bindings = Object.values(configs.get(service)?.vhosts ?? {}).flatMap((vhost) =>
    Object.values(vhost.bindings ?? {}),
  );
  const methods = Object.values(contracts).filter(
    (each): each is AnyMethod => typeof each === 'object' && 'method' in each,
  );
  const answered = methods.filter((method) => method.service === service);
  const called = methods.filter(({ callers }) => callers.includes(service));
  return {
    consumes: sorted(
      bindings.filter(({ source }) => source === 'events').map((each) => each.bindingKey ?? ''),
    ),
    calls: sorted(called.map(({ routingKey }) => routingKey)),
    answers: sorted(answered.flatMap(({ callers }) => callers)),
  };
}

function sorted(keys: readonly string[]): string[] {
  return [...new Set(keys)].sort();
}

/** Routing keys of the events whose contract says so. */
function mayGoUnconsumed(): string[] {
  return Object.values(contracts)
    .filter(
      (each): each is AnyEvent =>
        typeof each === 'object' && 'mayGoUnconsumed' in each && each.mayGoUnconsumed,
    )
    .map(({ routingKey }) => routingKey)
    .sort();
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
