import type { Auth } from '../auth/auth.ts';
import type { ChassisConfig } from '../config.ts';
import type { Logger, UnitsOfWork } from '../context.ts';
import type { RequestFor } from '../request/context.ts';
import type { Metrics } from '../telemetry/index.ts';
import type { EdgeHandler } from './edge.ts';
import type { Route } from './routes.ts';

export interface HttpOptions {
  name: string;
  version: string;
  routes: readonly Route[];
  /** Absent in a service without a database: every handler gets a ReadContext. */
  units?: UnitsOfWork;
  /** Absent with AUTH=off. */
  auth?: Auth | undefined;
  /** Absent in a service that calls no other. */
  requestFor?: RequestFor;
  edge?: EdgeHandler;
  config: Pick<ChassisConfig, 'REQUEST_TIMEOUT' | 'BODY_LIMIT'>;
  log: Logger;
  metrics: Metrics;
  now: () => Date;
}
