import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { connect } from 'amqplib';
import { registerCleanup } from '../cleanup.ts';
import { freePorts } from '../ports.ts';
import { endGroup, groupLives } from '../process-group.ts';
import { type BrokerSettings, erlangArguments, type PrivateBroker, QUORUM_QUEUE_FLUSH_MS } from './broker.ts';
import { findEpmd } from './install.ts';
import { management } from './management.ts';

/** How long a node may take to start, in ms: a loaded two-core machine needs 20 s. */
const startTimeout = 90_000;

/**
 * A RabbitMQ node of our own: directory, ports, epmd, cookie and plugins are its own, so that it neither sees nor disturbs the
 * machine's.
 *
 * @param server path of the `rabbitmq-server` program
 */
export async function startNode(server: string, settings: BrokerSettings = {}): Promise<PrivateBroker> {
  const epmd = await findEpmd();
  const [amqpPort, managementPort, distributionPort, epmdPort] = (await freePorts(4)) as [
    number,
    number,
    number,
    number,
  ];
  const directory = await mkdtemp(join(tmpdir(), 'warren-rabbitmq-'));
  const forgetDirectory = registerCleanup({ type: 'directory', path: directory });
  const user = 'operator';
  const password = randomBytes(12).toString('hex');
  const url = `amqp://${user}:${password}@127.0.0.1:${amqpPort}`;

  await mkdir(join(directory, 'conf.d'));
  const file = (name: string, content: string, mode?: number) =>
    writeFile(join(directory, name), content, { mode });
  await file('.erlang.cookie', randomBytes(20).toString('hex'), 0o400);
  await file('enabled_plugins', '[rabbitmq_management].\n');
  await file('rabbitmq-env.conf', '');
  await file(
    'rabbitmq.conf',
    [
      `listeners.tcp.local = 127.0.0.1:${amqpPort}`,
      'management.tcp.ip = 127.0.0.1',
      `management.tcp.port = ${managementPort}`,
      `default_user = ${user}`,
      `default_pass = ${password}`,
      'disk_free_limit.absolute = 50MB',
      'raft.wal_max_size_bytes = 33554432',
      '',
    ].join('\n'),
  );

  const env: NodeJS.ProcessEnv = {
    // Nothing of the caller's that speaks of another node or another Erlang.
    ...Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !/^(RABBITMQ_|ERL_|NODE_|NOTIFY_)/.test(name)),
    ),
    HOME: directory,
    ERL_EPMD_PORT: String(epmdPort),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: `warren-${randomBytes(4).toString('hex')}@localhost`,
    RABBITMQ_NODE_PORT: String(amqpPort),
    RABBITMQ_DIST_PORT: String(distributionPort),
    RABBITMQ_CONF_ENV_FILE: join(directory, 'rabbitmq-env.conf'),
    RABBITMQ_CONFIG_FILE: join(directory, 'rabbitmq.conf'),
    RABBITMQ_CONFIG_FILES: join(directory, 'conf.d'),
    RABBITMQ_ADVANCED_CONFIG_FILE: join(directory, 'advanced.config'),
    RABBITMQ_GENERATED_CONFIG_DIR: join(directory, 'config'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(directory, 'enabled_plugins'),
    RABBITMQ_MNESIA_BASE: join(directory, 'data'),
    RABBITMQ_LOG_BASE: join(directory, 'log'),
    RABBITMQ_PID_FILE: join(directory, 'rabbitmq.pid'),
    // With it the script becomes the server, instead of staying as its parent.
    RUNNING_UNDER_SYSTEMD: 'true',
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: [
      '+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}',
      ...erlangArguments(settings),
    ].join(' '),
  };

  const names = await runInGroup(
    epmd,
    ['-port', String(epmdPort), '-address', '127.0.0.1'],
    env,
    join(directory, 'epmd.log'),
  );
  let node: Group | undefined;

  const start = async () => {
    if (node && groupLives(node.group)) return;
    node = await runInGroup(server, [], env, join(directory, 'node.log'));
    await ready(node);
  };

  const api = management(`http://127.0.0.1:${managementPort}`, user, password);
  const ready = async (started: Group) => {
    const deadline = Date.now() + startTimeout;
    for (;;) {
      if (started.ended()) {
        throw new Error(`${server} ended while starting; its last log lines: ${await lastWords(directory)}`);
      }
      try {
        const connection = await connect(url);
        await connection.close();
        await api.request('GET', 'overview');
        return;
      } catch {}
      if (Date.now() > deadline) {
        await endGroup(started.group, { signal: 'SIGKILL' });
        throw new Error(
          `${server} was not ready within ${startTimeout / 1000} s; its last log lines: ${await lastWords(directory)}`,
        );
      }
      await wait(100);
    }
  };

  const end = async (signal: NodeJS.Signals) => {
    const ending = node;
    if (!ending) return;
    node = undefined;
    await endGroup(ending.group, { signal, grace: 20_000 });
    ending.forget();
  };

  const broker: PrivateBroker = {
    url,
    managementUrl: `http://127.0.0.1:${managementPort}`,
    version: '',
    description: '',
    get running() {
      return node !== undefined;
    },
    start,
    halt: () => end('SIGTERM'),
    async kill({ after = QUORUM_QUEUE_FLUSH_MS } = {}) {
      await wait(after);
      await end('SIGKILL');
    },
    async stop() {
      // Its data goes with it: there is nothing to put in order.
      await end('SIGKILL');
      await endGroup(names.group, { signal: 'SIGKILL' });
      names.forget();
      await rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
      forgetDirectory();
    },
  };

  try {
    await start();
    const overview = await api.request<{ rabbitmq_version: string }>('GET', 'overview');
    broker.version = overview?.rabbitmq_version ?? 'of an unknown version';
    broker.description = `RabbitMQ ${broker.version}, a private node of ${server}`;
  } catch (error) {
    await broker.stop();
    throw error;
  }
  return broker;
}

interface Group {
  group: number;
  ended(): boolean;
  forget(): void;
}

async function runInGroup(
  program: string,
  parameters: string[],
  env: NodeJS.ProcessEnv,
  log: string,
): Promise<Group> {
  const output = openSync(log, 'a');
  const child: ChildProcess = spawn(program, parameters, {
    env,
    cwd: env.HOME,
    detached: true,
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) => reject(new Error(`${program} could not be started`, { cause: error })));
  });
  child.unref();
  const group = child.pid as number;
  return {
    group,
    ended: () => child.exitCode !== null || child.signalCode !== null,
    forget: registerCleanup({ type: 'processes', group, signal: 'SIGKILL' }),
  };
}

async function lastWords(directory: string): Promise<string> {
  const log = await readFile(join(directory, 'node.log'), 'utf8').catch(() => '');
  return log.trim().split('\n').slice(-8).join(' | ') || '(none)';
}
