// What compiles, and what does not, for users of the package. `make check` compiles this file; it is not run.
import { defineService, type EdgeHandler, type EdgeTools } from '@warren/chassis';
import { createEdge, type EdgeConfig, edgeConfig, upstreamUrl } from '@warren/edge';

interface DoorConfig extends EdgeConfig {
  USER_URL: string;
}

const upstreams = { user: 'http://user' };
const pages = { route: '/docs', at: () => undefined };

const door = (config: DoorConfig, tools: EdgeTools): EdgeHandler =>
  createEdge(
    {
      config,
      upstreams,
      destinationOf: (path) => (path === '/users' ? { upstream: 'user', route: '/users' } : undefined),
      pages,
    },
    tools,
  );

defineService<DoorConfig>({
  name: 'door',
  version: '0.1.0',
  config: { ...edgeConfig, USER_URL: upstreamUrl('http://user') },
  edge: door,
});

export const wrong = (config: EdgeConfig, tools: EdgeTools) => [
  createEdge(
    {
      config,
      // @ts-expect-error an upstream without a URL
      upstreams,
      destinationOf: () => ({ upstream: 'order', route: '/orders' }) as const,
      pages,
    },
    tools,
  ),
  // @ts-expect-error the tools are missing
  createEdge({ config, upstreams, destinationOf: () => undefined, pages }),
];
// @ts-expect-error a limit is missing
({ MAX_CONNECTIONS: 1 }) satisfies EdgeConfig;
