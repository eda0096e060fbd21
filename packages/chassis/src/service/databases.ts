import { Availability } from '../database/availability.ts';
import { type Database, openDatabase } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { probeDatabase } from '../database/probe.ts';
import type { Setup } from './setup.ts';

/** Connections for each kind of task: for claiming, renewing, completing, and reads of `perform`. */
const TASK_CONNECTIONS = 4;
/** Connections for the probe and the statistics. */
const MAINTENANCE_CONNECTIONS = 2;

const CHASSIS_MIGRATIONS = new URL('../../migrations/', import.meta.url);

const POOL_STATES = ['idle', 'used', 'waiting'] as const;

/**
 * The database of a service, through two pools, so that requests and background work do not wait for each other's connections; and
 * whether it is available. Connects with the first statement.
 */
export class Databases {
  readonly requests: Database<unknown>;
  readonly background: Database<unknown>;
  readonly availability: Availability;
  readonly #setup: Setup;
  #isMonitored = false;

  /** @param consumers transactions of consumers at once */
  constructor(setup: Setup, consumers: number) {
    const { definition, config, log, metrics } = setup;
    this.#setup = setup;
    const tasks = definition.workers?.length ?? 0;
    const background = consumers + tasks * TASK_CONNECTIONS + MAINTENANCE_CONNECTIONS;
    this.requests = this.#open('http', config.DATABASE_POOL, config.REQUEST_TIMEOUT);
    this.background = this.#open('background', background);
    this.availability = new Availability({
      probe: (space, signal) =>
        probeDatabase(
          (run, aborting) => this.background.share(({ run: send }) => run(send), { signal: aborting }),
          space,
          signal,
        ),
      log,
    });
    this.availability.onChange((available) => metrics.databaseConnected.set(available ? 1 : 0));
    this.reportPools();
  }

  #open(role: string, connections: number, statementTimeout?: number): Database<unknown> {
    const { definition, config, log } = this.#setup;
    return openDatabase<unknown>({
      url: config.DATABASE_URL as string,
      connections,
      name: `${definition.name} ${role}`,
      log,
      onUnavailable: (error) => {
        if (this.#isMonitored) void this.availability.check(error);
      },
      ...(statementTimeout !== undefined && { statementTimeout }),
    });
  }

  migrate(signal: AbortSignal | undefined): Promise<void> {
    const { definition, config, log } = this.#setup;
    const sets = [
      { name: 'chassis', directory: CHASSIS_MIGRATIONS },
      { name: definition.name, directory: definition.migrations as URL },
    ];
    return migrate(config.DATABASE_URL as string, sets, log, signal);
  }

  /** From now on an error that means an outage is followed by a probe. Before, the start itself waits for the database. */
  monitor(): void {
    this.#isMonitored = true;
  }

  /** Sets the gauges of the connections. */
  reportPools(): void {
    const counts = { idle: 0, used: 0, waiting: 0 };
    for (const { total, idle, waiting } of [this.requests.stats(), this.background.stats()]) {
      counts.idle += idle;
      counts.used += total - idle;
      counts.waiting += waiting;
    }
    for (const state of POOL_STATES) this.#setup.metrics.dbPoolConnections.set({ state }, counts[state]);
  }

  async close(): Promise<void> {
    await this.requests.close();
    await this.background.close();
  }
}
