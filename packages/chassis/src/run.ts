// Runs a service as a process: signals and exit codes.
import { ConfigError, WarrenError } from './errors.ts';
import type { ServiceDescription } from './service/definition.ts';
import { type RunningService, start } from './service/start.ts';
import { createLog } from './telemetry/index.ts';

const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Runs a service until SIGTERM or SIGINT: drains, then exits with 0, or with 1 if that takes longer than `SHUTDOWN_GRACE`. A second
 * signal exits at once. After a wrong environment, which is printed to stderr with a line for each mistake, or an uncaught error,
 * which is logged, it exits with 1.
 */
export async function run(service: ServiceDescription): Promise<void> {
  const aborting = new AbortController();
  let running: RunningService | undefined;
  let signalled = false;

  const die = (error: unknown, message: string) => {
    const log =
      running?.log ?? createLog({ service: service.name, version: service.version, level: 'fatal' });
    log.fatal({ err: error }, message);
    process.exit(1);
  };
  process.on('uncaughtException', (error) => die(error, 'uncaught exception'));
  process.on('unhandledRejection', (error) => die(error, 'unhandled rejection'));
  for (const [signal, code] of Object.entries(SIGNALS)) {
    process.on(signal, () => {
      if (signalled) process.exit(code);
      signalled = true;
      aborting.abort();
      if (running !== undefined) void running.stop().then((inTime) => process.exit(inTime ? 0 : 1));
    });
  }

  try {
    running = await start(service, process.env, {
      signal: aborting.signal,
      onFatal: (error) => die(error, error.message),
    });
  } catch (error) {
    if (signalled) process.exit(0);
    if (error instanceof ConfigError) {
      process.stderr.write(`${service.name} cannot start with this environment:\n`);
      for (const mistake of error.mistakes) process.stderr.write(`  ${mistake}\n`);
      process.exit(1);
    }
    if (error instanceof WarrenError) {
      process.stderr.write(`${service.name} cannot start: ${error.message}\n`);
      process.exit(1);
    }
    die(error, 'cannot start');
  }
  if (signalled) process.exit((await running?.stop()) ? 0 : 1);
}
