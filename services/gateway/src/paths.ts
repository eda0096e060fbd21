// Which path goes to which service.
import type { Destination } from '@warren/edge';

export type Upstream = 'user' | 'session' | 'order' | 'payment' | 'email';

/** First segment of the path, exactly as written, and the service that owns what is below it. */
const OWNERS: ReadonlyMap<string, Upstream> = new Map([
  ['users', 'user'],
  ['create_user', 'user'],
  ['sessions', 'session'],
  ['orders', 'order'],
  ['payments', 'payment'],
  ['emails', 'email'],
]);

/** Who answers a plain path; undefined when nobody does. */
export function destinationOf(path: string): Destination<Upstream> | undefined {
  const segment = path.split('/', 2)[1] as string;
  const upstream = OWNERS.get(segment);
  return upstream && { upstream, route: `/${segment}/*` };
}
