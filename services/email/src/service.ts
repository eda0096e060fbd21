import { defineService } from '@warren/chassis';
import manifest from '../package.json' with { type: 'json' };
import { broker } from './broker.ts';
import { config, type EmailConfig } from './config.ts';
import { held, refusals } from './emails.ts';
import { handlers } from './handlers.ts';
import { routes } from './routes.ts';
import type { EmailSchema } from './schema.ts';
import { workers } from './workers.ts';

export const service = defineService<EmailConfig, EmailSchema, typeof broker>({
  name: 'email',
  version: manifest.version,
  config,
  migrations: new URL('../migrations/', import.meta.url),
  broker,
  routes,
  handlers,
  workers,
  counters: [refusals, held],
});
