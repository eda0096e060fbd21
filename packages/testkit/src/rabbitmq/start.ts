import { type Log, log as stderrLog } from '../log.ts';
import type { Broker, BrokerSettings, PrivateBroker } from './broker.ts';
import { canInstall, findServer, installServer } from './install.ts';
import { managementOf } from './management.ts';
import { startNode } from './node.ts';

export interface StartBrokerOptions {
  /** Progress, and the line that says which broker is used. Default: standard error. */
  log?: Log;
  /** Default: the process's own. Read are AMQP_URL, AMQP_MANAGEMENT_URL, WARREN_RABBITMQ_IMAGE. */
  env?: Record<string, string | undefined>;
  /** Of a private broker: settings of the application `rabbit`, e.g. `{ consumer_timeout: 8_000 }`. */
  settings?: BrokerSettings;
}

/** The image that is run where there is a Docker engine and WARREN_RABBITMQ_IMAGE names no other. */
const defaultImage = 'rabbitmq:4-management';

/**
 * Finds or starts a broker: AMQP_URL, else a Docker engine that has or can pull the image, else a private node of the
 * `rabbitmq-server` on this machine, which as root on Debian or Ubuntu is installed first.
 *
 * @example
 * const broker = await startBroker();
 * run('mocha', { AMQP_URL: broker.url, AMQP_MANAGEMENT_URL: broker.managementUrl });
 * await broker.stop();
 *
 * @throws one sentence that says what to install, when there is no way to a broker
 */
export async function startBroker(options: StartBrokerOptions = {}): Promise<Broker | PrivateBroker> {
  const { log = stderrLog, env = process.env } = options;
  const broker = (await givenBroker(env)) ?? (await dockerBroker(log, env)) ?? (await localBroker(log));
  log(`broker: ${broker.description}`);
  return broker;
}

/**
 * A broker that may be stopped, killed and started again: a node of its own on this machine, or, where there can be none, a
 * container of its own.
 */
export async function startPrivateBroker(options: StartBrokerOptions = {}): Promise<PrivateBroker> {
  const { log = stderrLog, env = process.env, settings = {} } = options;
  const image = env.WARREN_RABBITMQ_IMAGE;
  const server = findServer();
  const contained = async () =>
    (await import('./docker.ts')).privateContainer(image || defaultImage, log, Boolean(image), settings);
  const broker =
    (server && !image ? undefined : await contained()) ??
    (await startNode(server ?? (await obtainServer(log)), settings));
  log(`private broker: ${broker.description}`);
  return broker;
}

async function givenBroker(env: Record<string, string | undefined>): Promise<Broker | undefined> {
  const url = env.AMQP_URL;
  if (!url) return undefined;
  const managementUrl = env.AMQP_MANAGEMENT_URL || managementBeside(url);
  const overview = await managementOf({ url, managementUrl }).request<{ rabbitmq_version: string }>(
    'GET',
    'overview',
  );
  const version = overview?.rabbitmq_version ?? 'of an unknown version';
  return {
    url,
    managementUrl: managementUrl.replace(/\/$/, ''),
    version,
    description: `RabbitMQ ${version} at ${new URL(url).host} (AMQP_URL)`,
    stop: async () => {},
  };
}

function managementBeside(url: string): string {
  const { protocol, hostname } = new URL(url);
  return `${protocol === 'amqps:' ? 'https' : 'http'}://${hostname}:15672`;
}

async function dockerBroker(log: Log, env: Record<string, string | undefined>): Promise<Broker | undefined> {
  const { containerBroker } = await import('./docker.ts');
  return containerBroker(env.WARREN_RABBITMQ_IMAGE || defaultImage, log);
}

const localBroker = async (log: Log): Promise<Broker> => startNode(findServer() ?? (await obtainServer(log)));

async function obtainServer(log: Log): Promise<string> {
  if (canInstall()) return installServer(log);
  throw new Error(
    'There is no RabbitMQ to use: set AMQP_URL, start Docker, or install rabbitmq-server (brew install rabbitmq, apt install rabbitmq-server).',
  );
}
