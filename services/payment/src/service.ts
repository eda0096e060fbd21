import { defineService } from '@warren/chassis';
import manifest from '../package.json' with { type: 'json' };
import { broker } from './broker.ts';
import { config, type PaymentConfig } from './config.ts';
import { handlers } from './handlers.ts';
import { methods } from './methods.ts';
import type { PaymentSchema } from './payments.ts';
import { routes } from './routes.ts';
import { workers } from './workers.ts';

export const service = defineService<PaymentConfig, PaymentSchema, typeof broker>({
  name: 'payment',
  version: manifest.version,
  config,
  migrations: new URL('../migrations/', import.meta.url),
  broker,
  routes,
  handlers,
  workers,
  methods,
});
