// Starts a service from its definition: makes its parts, opens them in order, and returns the running service.
import type { ChassisConfig } from '../config.ts';
import type { Logger } from '../context.ts';
import type { Environment } from '../environment.ts';
import { type Metrics, type Tracing, tracing } from '../telemetry/index.ts';
import type { ServiceDescription } from './definition.ts';
import { runMaintenance } from './maintenance.ts';
import { createParts, type Parts } from './parts.ts';
import { type Setup, setUp } from './setup.ts';
import { closeAll, Shutdown } from './shutdown.ts';
import { whenAvailable } from './when-available.ts';

export interface RunningService {
  /** `http://LISTEN_HOST:PORT`; 127.0.0.1 where it listens on all interfaces. */
  url: string;
  adminUrl: string;
  port: number;
  adminPort: number;
  log: Logger;
  metrics: Metrics;
  /** As /readyz reports it. */
  ready(): boolean;
  /**
   * Drains: it is not ready, and accepts requests for `DRAIN_DELAY`; then it accepts nothing more, finishes the work in flight,
   * flushes the outbox and closes.
   * @returns false if that takes longer than `SHUTDOWN_GRACE`
   */
  stop(): Promise<boolean>;
}

export interface StartOptions {
  /** Aborts a start that waits for its database. */
  signal?: AbortSignal;
  log?: Logger;
  now?: () => Date;
  /** Called with a mistake that shows only while running, e.g. a connection pooler in the wrong mode. */
  onFatal?: (error: Error) => void;
}

/**
 * Starts a service. Resolves when it listens, for which it needs its database, but not its broker.
 * @throws {ConfigError} with every mistake in the environment
 * @throws {WarrenError} `invalid_route`, `invalid_service`, `port_taken`, `migration_failed`
 */
export async function start(
  definition: ServiceDescription,
  env: Environment = process.env,
  options: StartOptions = {},
): Promise<RunningService> {
  const setup = setUp(definition, env, options);
  const { config, log, metrics } = setup;
  const parts = createParts(setup, options.onFatal ?? ((error) => log.fatal({ err: error }, error.message)));
  const { name, version } = definition;
  const traces = await tracing.start({
    service: name,
    version,
    endpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
  });
  const shutdown = new Shutdown(parts, traces, setup);
  const { port, adminPort } = await listen(parts, traces, setup, options.signal);
  beginWork(parts, setup);
  log.info({ port, adminPort }, `listening on :${port} (admin :${adminPort})`);
  return {
    url: `http://${hostOf(config)}:${port}`,
    adminUrl: `http://${hostOf(config)}:${adminPort}`,
    port,
    adminPort,
    log,
    metrics,
    ready: () => parts.readiness.isReady,
    stop: () => shutdown.run(),
  };
}

/** Opens the admin port, waits for the database, and opens the port. If one of them fails, nothing stays open. */
async function listen(
  parts: Parts,
  traces: Tracing,
  setup: Setup,
  signal: AbortSignal | undefined,
): Promise<{ port: number; adminPort: number }> {
  const { config } = setup;
  try {
    const adminPort = await parts.admin.listen(config.ADMIN_PORT, config.LISTEN_HOST);
    await migrate(parts, setup, signal);
    const port = await parts.http.listen(config.PORT, config.LISTEN_HOST);
    return { port, adminPort };
  } catch (error) {
    await closeAll(parts, traces);
    throw error;
  }
}

async function migrate(
  { databases, queues, readiness }: Parts,
  { log, metrics }: Setup,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (databases === undefined) return;
  await whenAvailable(() => databases.migrate(signal), {
    log,
    signal,
    onProblem(problem) {
      readiness.startProblem = problem;
      metrics.databaseConnected.set(problem === undefined ? 1 : 0);
    },
  });
  await queues?.load();
}

/** From now on it is ready, consumes, publishes and does tasks. */
function beginWork(
  { readiness, databases, topology, broker, relay, work, stopping }: Parts,
  setup: Setup,
): void {
  readiness.serve();
  databases?.monitor();
  broker?.connection.start();
  relay?.start();
  for (const runner of work?.runners ?? []) runner.start();
  if (databases !== undefined)
    void runMaintenance(setup, databases, relay && topology?.published, stopping.signal);
}

/** The host of a URL that leads to this service from this machine. */
function hostOf({ LISTEN_HOST: host }: ChassisConfig): string {
  if (host === '::' || host === '0.0.0.0') return '127.0.0.1';
  return host.includes(':') ? `[${host}]` : host;
}
