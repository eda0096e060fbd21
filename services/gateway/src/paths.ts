// Maps paths to services.
import type { Destination } from '@warren/edge';

export type Upstream = 'user' | 'session' | 'order' | 'payment' | 'email';

/** The first segment of a path, and the service that owns all paths below it. */
const OWNERS: ReadonlyMap<string, Upstream> = new Map([
  ['users', 'user'],
  ['create_user', 'user'],
  ['sessions', 'session'],
  ['orders', 'order'],
  ['payments', 'payment'],
  ['emails', 'email'],
]);

/** @returns the service of a path; undefined when there is none */
export function destinationOf(path: string): Destination<Upstream> | undefined {
  const segment = path.split('/', 2)[1] as string;
  const upstream = OWNERS.get(segment);
  return upstream && { upstream, route: `/${segment}/*` };
}
