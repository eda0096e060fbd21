// A service in the test's own process, as often as it is wanted.
import { eventually } from './eventually.ts';
import type { TestDatabase } from './postgres/with-database.ts';
import type { TestBroker } from './rabbitmq/with-broker.ts';

/** What is needed of a service that runs. */
interface Startable {
  ready(): Promise<boolean> | boolean;
  stop(): Promise<unknown>;
}

interface Surroundings {
  broker: Pick<TestBroker, 'url'>;
  database: Pick<TestDatabase, 'url'>;
}

/** The environment of a service in a test: free ports, no log, its user at the broker, the database. */
export const environmentOf = (service: string, { broker, database }: Surroundings) => ({
  PORT: '0',
  ADMIN_PORT: '0',
  LOG_LEVEL: 'silent',
  AMQP_URL: broker.url(service),
  DATABASE_URL: database.url,
});

export interface WithReplicasOptions extends Surroundings {
  /** The service, which is also its user at the broker. */
  name: string;
  /** Besides {@link environmentOf}. */
  env?: Record<string, string>;
}

/**
 * Replicas of a service on free ports, which are stopped after the tests of this `describe`.
 * @example
 * const replicas = withReplicas((env) => start(service, env), { name: 'session', broker, database });
 * before(async () => { session = await replicas.start(); });
 */
export function withReplicas<Replica extends Startable>(
  launch: (env: Record<string, string>) => Promise<Replica>,
  { name, env: always = {}, ...surroundings }: WithReplicasOptions,
) {
  const running: Replica[] = [];
  const stopAll = async (): Promise<void> => {
    await Promise.all(running.splice(0).map((replica) => replica.stop()));
  };
  after('the end of the replicas', stopAll);

  return {
    /** All that run, the oldest first. */
    running: running as readonly Replica[],

    /** Starts one, and waits until it is ready. `env` comes over the others' environment. */
    async start(env: Record<string, string> = {}): Promise<Replica> {
      const replica = await launch({ ...environmentOf(name, surroundings), ...always, ...env });
      running.push(replica);
      await eventually(() => replica.ready(), { timeout: 30_000 });
      return replica;
    },
    stopAll,
  };
}
