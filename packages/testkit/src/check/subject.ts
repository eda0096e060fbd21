// Finds out from the broker what is checked: the service of a queue, its user, and the versions of its event.
import { brokerObjects } from './broker-objects.ts';
import type { Subject } from './context.ts';
import { CheckError, type CheckOptions } from './options.ts';
import { byDuration, levelOf, parseLevels } from './retry-levels.ts';
import { dataOf } from './sample.ts';
import { until } from './until.ts';
import type { Wire } from './wire.ts';

const QUEUE = /^([a-z][a-z0-9-]*)\.([a-z][a-z0-9]*(?:\.[a-z][a-z0-9]*)+)$/;

/** @throws {CheckError} if an option is missing or wrong */
export function namesOf({ queue, sample, method }: CheckOptions): {
  service: string;
  type: string;
  consumed: string;
} {
  if (queue === undefined) {
    if (method === undefined) throw new CheckError('give --queue SERVICE.TYPE, e.g. loyalty.order.confirmed');
    const service = method.name.split('.', 1)[0] as string;
    return { service, type: '', consumed: `${service}.rpc` };
  }
  const [, service, type] = QUEUE.exec(queue) ?? [];
  if (service === undefined || type === undefined)
    throw new CheckError(`the queue '${queue}' has to be named SERVICE.TYPE, e.g. loyalty.order.confirmed`);
  if (sample === undefined) throw new CheckError('give --sample FILE with the data of a valid event');
  return { service, type, consumed: queue };
}

/** Call it when the service consumes. @throws {CheckError} */
export async function subjectOf(wire: Wire, options: CheckOptions): Promise<Subject> {
  const { service, type, consumed } = namesOf(options);
  const user = options.user ?? (await consumerOf(wire, consumed));
  const from = type.split('.', 1)[0] as string;
  const versions = await versionsOf(wire, consumed, type);
  const version = Math.max(...versions);
  return {
    queue: consumed,
    service,
    user,
    event: {
      type,
      version,
      from,
      user: options.producer ?? userOf(from, { service, user }),
      sample: dataOf(options.sample ?? {}),
      keep: options.keep ?? [],
    },
    key: `${type}.v${version}`,
    versions,
    levels: options.retryDelays ? parseLevels(options.retryDelays) : await levelsOf(wire, service),
  };
}

/** ms until the management API lists a consumer. */
const LISTED_MS = 15_000;

/** The user who consumes a queue. */
async function consumerOf(wire: Wire, queue: string): Promise<string> {
  if (!(await wire.queue(queue))?.consumers)
    throw new CheckError(`nothing consumes ${queue}: start the service, or give --start "COMMAND"`);
  let user: string | undefined;
  await until(async () => {
    user = await brokerObjects(wire).consumerOf(queue);
    return user === undefined ? 'waiting' : 'done';
  }, LISTED_MS);
  if (user === undefined)
    throw new CheckError(`the management API does not list the consumer of ${queue}: give --user NAME`);
  return user;
}

/** The broker user of another service, derived from that of the service as consumers derive it. */
export function userOf(other: string, { service, user }: { service: string; user: string }): string {
  const own = user.replace(/\.next$/, '');
  const at = own.lastIndexOf(service);
  return at === -1 ? other : own.slice(0, at) + other + own.slice(at + service.length);
}

async function versionsOf(wire: Wire, queue: string, type: string): Promise<number[]> {
  const keys = await brokerObjects(wire).keys(queue, 'events');
  const versions = keys
    .filter((key) => key.startsWith(`${type}.v`))
    .map((key) => Number(key.slice(type.length + 2)));
  return versions.some(Number.isInteger) ? versions.filter(Number.isInteger) : [1];
}

async function levelsOf(wire: Wire, service: string) {
  const bound = await brokerObjects(wire).bound(`${service}.retry`);
  return byDuration(bound.map(({ key }) => levelOf(key)).filter((level) => level !== undefined));
}
