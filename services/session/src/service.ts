import { defineService } from '@warren/chassis';
import manifest from '../package.json' with { type: 'json' };
import { broker } from './broker.ts';
import { config, type SessionConfig } from './config.ts';
import { handlers } from './handlers.ts';
import { methods } from './methods.ts';
import { routes } from './routes.ts';
import type { SessionSchema } from './sessions.ts';
import { workers } from './workers.ts';

export const service = defineService<SessionConfig, SessionSchema, typeof broker>({
  name: 'session',
  version: manifest.version,
  config,
  migrations: new URL('../migrations/', import.meta.url),
  broker,
  routes,
  handlers,
  workers,
  methods,
});
