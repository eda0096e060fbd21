// What was refused because there is only so much of it: counted, and logged now and then.
import { type CounterDefinition, type FrontTools, seldom } from '@warren/chassis';

const BOUNDS = {
  connections: 'connections are refused: there are MAX_CONNECTIONS, and none of them is idle',
  client_connections: 'connections of a client are refused: it has MAX_CLIENT_CONNECTIONS',
  header_memory: 'connections are closed: the heads of their unanswered requests exceed HEADER_MEMORY',
  body_memory: 'requests are refused: their bodies exceed BODY_MEMORY',
  upstream_connections: 'requests are refused: no connection to the service became free',
};

export type Bound = keyof typeof BOUNDS;

export const refused: CounterDefinition<{ bound: Bound }> = {
  name: 'gateway_refused_total',
  help: 'Connections and requests refused because a bound was reached, by bound.',
  labels: { bound: Object.keys(BOUNDS) as Bound[] },
};

export type Refuse = (bound: Bound, client: string | undefined) => void;

export function createRefuse({ log, count }: FrontTools): Refuse {
  const entries = Object.entries(BOUNDS).map(([name, text]) => {
    const bound = name as Bound;
    const tell = seldom((omitted: number, client: string | undefined) =>
      log.warn({ bound, client, omitted }, text),
    );
    return [bound, { tell, counted: count(refused, { bound }) }] as const;
  });
  const bounds = new Map(entries);
  return (bound, client) => {
    const { tell, counted } = bounds.get(bound) as (typeof entries)[number][1];
    counted();
    tell(client);
  };
}
