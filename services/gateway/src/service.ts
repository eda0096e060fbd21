import { defineService } from '@warren/chassis';
import { createEdge, refused } from '@warren/edge';
import manifest from '../package.json' with { type: 'json' };
import { broker } from './broker.ts';
import { config, type GatewayConfig, upstreamsOf } from './config.ts';
import { docsPage } from './docs.ts';
import { destinationOf } from './paths.ts';
import { routes } from './routes.ts';

export const service = defineService<GatewayConfig, never, typeof broker>({
  name: 'gateway',
  version: manifest.version,
  config,
  broker,
  routes,
  edge: (config, tools) =>
    createEdge(
      { config, upstreams: upstreamsOf(config), destinationOf, pages: { route: '/docs', at: docsPage } },
      tools,
    ),
  counters: [refused],
});
