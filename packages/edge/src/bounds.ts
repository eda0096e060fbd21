// Counts refusals by the limit that was reached, and logs them at a reduced rate.
import { type CounterDefinition, type EdgeTools, seldom } from '@warren/chassis';

const BOUNDS = {
  connections: 'connection refused: MAX_CONNECTIONS reached and none is idle',
  client_connections: 'connection refused: the client reached MAX_CLIENT_CONNECTIONS',
  header_memory: 'connection closed: the headers of unanswered requests exceed HEADER_MEMORY',
  body_memory: 'request refused: request bodies exceed BODY_MEMORY',
  upstream_connections: 'request refused: no upstream connection became free within UPSTREAM_WAIT',
};

export type Bound = keyof typeof BOUNDS;

export const refused: CounterDefinition<{ bound: Bound }> = {
  name: 'gateway_refused_total',
  help: 'Connections and requests refused because a limit was reached, by limit.',
  labels: { bound: Object.keys(BOUNDS) as Bound[] },
};

export type Refuse = (bound: Bound, client: string | undefined) => void;

export function createRefuse({ log, count }: EdgeTools): Refuse {
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
