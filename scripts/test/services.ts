// One broker and one PostgreSQL for all the suites of a run.
import { keptServices, startBroker, startDatabase } from '../../packages/testkit/src/index.ts';

/** What the suites would otherwise each start for themselves; none where the environment names one, or `make services` runs. */
export async function startServices(): Promise<{
  environment: Record<string, string>;
  stop(): Promise<void>;
}> {
  const env = { ...keptServices(), ...process.env };
  const broker = await startBroker({ env });
  const stops = [() => broker.stop()];
  const stop = async () => {
    for (const each of stops.splice(0)) await each();
  };
  try {
    const database = await startDatabase({ env });
    stops.unshift(() => database.stop());
    return {
      environment: {
        AMQP_URL: broker.url,
        AMQP_MANAGEMENT_URL: broker.managementUrl,
        DATABASE_URL: database.url,
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
