import { defineService } from '@warren/chassis';
import manifest from '../package.json' with { type: 'json' };
import { broker } from './broker.ts';
import { config, type UserConfig } from './config.ts';
import { methods } from './methods.ts';
import { routes } from './routes.ts';
import type { UserSchema } from './users.ts';
import { workers } from './workers.ts';

export const service = defineService<UserConfig, UserSchema, typeof broker>({
  name: 'user',
  version: manifest.version,
  config,
  migrations: new URL('../migrations/', import.meta.url),
  broker,
  routes,
  methods,
  workers,
});
