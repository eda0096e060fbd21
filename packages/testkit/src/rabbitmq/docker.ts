import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { connect } from 'amqplib';
import { registerCleanup } from '../cleanup.ts';
import type { Log } from '../log.ts';
import { freePorts } from '../ports.ts';
import {
  type Broker,
  type BrokerSettings,
  erlangArguments,
  type PrivateBroker,
  QUORUM_QUEUE_FLUSH_MS,
} from './broker.ts';
import { management } from './management.ts';

/** How long the engine may take to pull the image, in ms. */
const pullTimeout = 150_000;
/** How long a container may take until it serves, in ms. */
const startTimeout = 90_000;

/** Undefined where there is no Docker engine, and, with one line said, where there is one that cannot give us the image. */
export async function containerBroker(image: string, log: Log): Promise<Broker | undefined> {
  return privateContainer(image, log);
}

/**
 * The broker in a container, on ports of this machine that stay the same from start to start.
 *
 * @param required the image was requested by name: log if it is not available
 */
export async function privateContainer(
  image: string,
  log: Log,
  required = false,
  settings: BrokerSettings = {},
): Promise<PrivateBroker | undefined> {
  const pass = (reason: string) => log(`Docker is passed over: ${reason}`);
  if (!mayHaveEngine()) {
    if (required) pass(`there is no engine to run ${image}`);
    return undefined;
  }
  const client = await engine().catch(() => undefined);
  if (!client) {
    pass('its engine does not respond');
    return undefined;
  }
  try {
    await obtain(client, image, log);
  } catch (error) {
    pass(`its engine has no ${image} and cannot pull it (${reasonOf(error)})`);
    return undefined;
  }
  try {
    return await run(client, image, settings);
  } catch (error) {
    pass(`${image} does not run (${reasonOf(error)})`);
    return undefined;
  }
}

/** For the cleanup process: removes a container in any state. */
export async function removeContainer(name: string): Promise<void> {
  const client = await engine();
  await client.container.dockerode
    .getContainer(name)
    .remove({ force: true, v: true })
    .catch((error: { statusCode?: number }) => {
      if (error.statusCode !== 404) throw error;
    });
}

/** Loading testcontainers takes half a second: look first whether there can be an engine. */
function mayHaveEngine(): boolean {
  if (process.env.DOCKER_HOST || process.env.TESTCONTAINERS_HOST_OVERRIDE) return true;
  const home = homedir();
  const sockets = [
    '/var/run/docker.sock',
    join(home, '.docker/run/docker.sock'),
    join(home, '.docker/desktop/docker.sock'),
    join(home, '.colima/default/docker.sock'),
    join(home, '.rd/docker.sock'),
    join(process.env.XDG_RUNTIME_DIR ?? '/run/user/0', 'docker.sock'),
    join(home, '.testcontainers.properties'),
  ];
  if (sockets.some((path) => existsSync(path))) return true;
  const windows = process.platform === 'win32';
  return (
    windows && (process.env.PATH ?? '').split(delimiter).some((path) => existsSync(join(path, 'docker.exe')))
  );
}

type Client = Awaited<ReturnType<typeof engine>>;

async function engine() {
  // Its reaper is one more image to pull; the cleanup process does that here.
  process.env.TESTCONTAINERS_RYUK_DISABLED = 'true';
  const { getContainerRuntimeClient } = await import('testcontainers');
  return getContainerRuntimeClient();
}

async function obtain(client: Client, image: string, log: Log): Promise<void> {
  const { ImageName } = await import('testcontainers');
  const name = ImageName.fromString(image);
  if (await client.image.exists(name)) return;
  const late = new AbortController();
  const patience = setTimeout(() => log(`Docker pulls ${image}`), 2_000);
  await Promise.race([
    client.image.pull(name),
    wait(pullTimeout, undefined, { signal: late.signal }).then(() => {
      throw new Error(`not within ${pullTimeout / 1000} s`);
    }),
  ]).finally(() => {
    clearTimeout(patience);
    late.abort();
  });
}

async function run(client: Client, image: string, settings: BrokerSettings): Promise<PrivateBroker> {
  const docker = client.container.dockerode;
  const host = client.info.containerRuntime.host;
  const user = 'operator';
  const password = randomBytes(12).toString('hex');
  // Fixed, since a container that is stopped and started gets other ports otherwise.
  const [amqpPort, managementPort] = (await freePorts(2)) as [number, number];
  const url = `amqp://${user}:${password}@${host}:${amqpPort}`;
  const managementUrl = `http://${host}:${managementPort}`;
  const api = management(managementUrl, user, password);
  const local = /^(localhost|127\.|::1)/.test(host);
  const bind = (port: number) => [{ HostPort: String(port), ...(local ? { HostIp: '127.0.0.1' } : {}) }];

  const name = `warren-rabbitmq-${randomBytes(4).toString('hex')}`;
  const forget = registerCleanup({ type: 'container', name });
  const container = await docker.createContainer({
    Image: image,
    name,
    // The data lies under the host name.
    Hostname: 'rabbitmq',
    Env: [
      `RABBITMQ_DEFAULT_USER=${user}`,
      `RABBITMQ_DEFAULT_PASS=${password}`,
      ...(Object.keys(settings).length > 0
        ? [`RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=${erlangArguments(settings).join(' ')}`]
        : []),
    ],
    ExposedPorts: { '5672/tcp': {}, '15672/tcp': {} },
    HostConfig: { PortBindings: { '5672/tcp': bind(amqpPort), '15672/tcp': bind(managementPort) } },
    Labels: { 'warren.testkit': 'true' },
  });
  let running = false;

  const start = async () => {
    if (running) return;
    await container.start();
    running = true;
    const deadline = Date.now() + startTimeout;
    for (;;) {
      try {
        const connection = await connect(url);
        await connection.close();
        await api.request('GET', 'overview');
        return;
      } catch (error) {
        const { State } = await container.inspect();
        if (!State.Running)
          throw new Error(`its container ended with exit code ${State.ExitCode}`, { cause: error });
        if (Date.now() > deadline)
          throw new Error(`not ready within ${startTimeout / 1000} s`, { cause: error });
      }
      await wait(150);
    }
  };

  const broker: PrivateBroker = {
    url,
    managementUrl,
    version: '',
    description: '',
    get running() {
      return running;
    },
    start,
    async halt() {
      if (running) await container.stop({ t: 30 });
      running = false;
    },
    async kill({ after = QUORUM_QUEUE_FLUSH_MS } = {}) {
      if (!running) return;
      await wait(after);
      await container.kill({ signal: 'SIGKILL' });
      running = false;
      await container.wait();
    },
    async stop() {
      await container.remove({ force: true, v: true });
      running = false;
      forget();
    },
  };

  try {
    await start();
    const overview = await api.request<{ rabbitmq_version: string }>('GET', 'overview');
    broker.version = overview?.rabbitmq_version ?? 'of an unknown version';
    broker.description = `RabbitMQ ${broker.version} in Docker (${image})`;
  } catch (error) {
    await broker.stop();
    throw error;
  }
  return broker;
}

/** Of `Get "https://…": dial tcp: lookup …: no such host` the last. */
function reasonOf(error: unknown): string {
  const [line = ''] = (error as Error).message.trim().split('\n');
  return line.split(': ').at(-1) || 'no reason given';
}
