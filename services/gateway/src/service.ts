import { defineService } from '@warren/chassis';
import manifest from '../package.json' with { type: 'json' };
import { refused } from './bounds.ts';
import { broker } from './broker.ts';
import { config, type GatewayConfig } from './config.ts';
import { createFront } from './front.ts';
import { routes } from './routes.ts';

export const service = defineService<GatewayConfig, never, typeof broker>({
  name: 'gateway',
  version: manifest.version,
  config,
  broker,
  routes,
  edge: createFront,
  counters: [refused],
});
