// The common arguments of the parts of a service: its definition, its configuration, its log and its metrics.
import { type Auth, createAuth } from '../auth/auth.ts';
import { type ChassisConfig, loadConfig } from '../config.ts';
import type { Logger } from '../context.ts';
import type { Environment } from '../environment.ts';
import { type Counters, createCounters } from '../telemetry/counters.ts';
import { createLog, createMetrics, type Metrics } from '../telemetry/index.ts';
import type { ServiceDescription } from './definition.ts';

export interface Setup {
  definition: ServiceDescription;
  config: ChassisConfig;
  log: Logger;
  metrics: Metrics;
  counters: Counters;
  /** Undefined with AUTH=off. */
  auth: Auth | undefined;
  now: () => Date;
}

/** @throws {ConfigError} with every mistake in the environment */
export function setUp(
  definition: ServiceDescription,
  env: Environment,
  { log: given, now = () => new Date() }: { log?: Logger; now?: () => Date },
): Setup {
  const { name, version, routes = [], edge, counters = [] } = definition;
  const database = definition.migrations !== undefined;
  const broker = definition.broker !== undefined;
  const config: ChassisConfig = loadConfig({
    ...(definition.config !== undefined && { schema: definition.config }),
    database,
    broker,
    env,
  });
  const log = given ?? createLog({ service: name, version, level: config.LOG_LEVEL });
  const http = routes.length > 0 || edge !== undefined;
  const metrics = createMetrics({ service: name, version, http, database, broker });
  return {
    definition,
    config,
    log,
    metrics,
    counters: createCounters(metrics.registry, counters),
    auth: createAuth(config, log, now),
    now,
  };
}
