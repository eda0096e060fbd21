// One system on the stage: a vhost and databases of its own, its services as processes, and what is left when they have stopped.
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDatabase, databaseUrl, dropDatabase, keep, loadDefinitions, query } from '@warren/testkit';
import { connect } from 'amqplib';
import { launch, type Process } from './processes.ts';
import type { Stage } from './stage.ts';
import type { Program, ServiceName, System } from './systems.ts';

export interface RunningSystem {
  system: System;
  /** Base URL of a service. */
  url(service: ServiceName): string;
  /** Its database, as a user with every right. */
  databaseUrl(service: ServiceName): string;
  /** Its vhost, as the service's user, or else as one with every right. */
  brokerUrl(service?: ServiceName): string;
  processes: Map<ServiceName, Process>;
  /** Starts a service again, after `stop`; resolves when it is ready. */
  launch(service: ServiceName): Promise<void>;
  /** Ends the processes; vhost and databases stay. */
  stop(): Promise<void>;
  /** Messages in each queue that has any. Exact once the processes have stopped: what they held is ready again. */
  queueDepths(): Promise<Record<string, number>>;
  /** Ends what runs, and removes vhost, databases and logs. */
  remove(): Promise<void>;
}

let runs = 0;

export async function startSystem(stage: Stage, system: System): Promise<RunningSystem> {
  runs += 1;
  const run = `bench${runs}`;
  const logs = mkdtempSync(join(tmpdir(), 'warren-bench-logs-'));
  keep({ type: 'directory', path: logs });
  const loaded = await loadDefinitions({
    management: stage.management,
    brokerUrl: stage.broker.url,
    vhost: run,
    definitions: system.definitions ?? {},
    disposable: true,
  });
  const nameOf = (service: ServiceName) => `${run}_${service}`;
  const portsOf = (service: ServiceName) =>
    stage.portsOf(system.services.findIndex((program) => program.service === service));
  const processes = new Map<ServiceName, Process>();

  const makeDatabase = async ({ service, tables }: Program) => {
    const name = nameOf(service);
    const url = await createDatabase({ server: stage.database.url, name, role: { name, password: name } });
    if (tables) await query(url, tables);
  };
  const ownDatabaseUrl = (service: ServiceName) => {
    const url = new URL(databaseUrl(stage.database.url, nameOf(service)));
    url.username = url.password = nameOf(service);
    return url.href;
  };
  const brokerUrl = (service?: ServiceName) =>
    service !== undefined && system.definitions ? loaded.url(service) : loaded.operatorUrl;

  const start = async ({ service, hasDatabase, env, readyPath, ...program }: Program) => {
    const { port, adminPort } = portsOf(service);
    const settings = {
      NODE_ENV: 'production',
      PORT: String(port),
      AMQP_URL: brokerUrl(service),
      ...(hasDatabase && { DATABASE_URL: ownDatabaseUrl(service) }),
      ...(readyPath !== undefined && { ADMIN_PORT: String(adminPort), OPERATORS: loaded.operator }),
      ...env,
    };
    const readyUrl = readyPath ? `http://127.0.0.1:${adminPort}${readyPath}` : `http://127.0.0.1:${port}/`;
    const options = { env: settings, log: join(logs, `${service}.log`), readyUrl };
    processes.set(service, await launch({ service, hasDatabase, env, readyPath, ...program }, options));
  };

  const stop = async () => {
    await Promise.all([...processes.values()].map((each) => each.stop()));
    processes.clear();
  };

  const running: RunningSystem = {
    system,
    processes,
    url: (service) => `http://127.0.0.1:${portsOf(service).port}`,
    databaseUrl: (service) => databaseUrl(stage.database.url, nameOf(service)),
    brokerUrl,
    async launch(service) {
      await start(system.services.find((program) => program.service === service) as Program);
    },
    stop,
    async queueDepths() {
      const queues = await stage.management.request<{ name: string }[]>('GET', `queues/${run}?columns=name`);
      return depthsOf(
        loaded.operatorUrl,
        (queues ?? []).map(({ name }) => name),
      );
    },
    async remove() {
      await stop();
      for (const { service } of system.services.filter(({ hasDatabase }) => hasDatabase))
        await dropDatabase(stage.database.url, nameOf(service), nameOf(service));
      await loaded.remove();
      await rm(logs, { recursive: true, force: true });
    },
  };
  try {
    // One after the other: the time from start to ready is measured, too.
    for (const program of system.services) {
      if (program.hasDatabase) await makeDatabase(program);
      await start(program);
    }
  } catch (error) {
    await running.remove();
    throw error;
  }
  return running;
}

async function depthsOf(url: string, queues: string[]): Promise<Record<string, number>> {
  const connection = await connect(url);
  try {
    const channel = await connection.createChannel();
    const depths: Record<string, number> = {};
    for (const queue of queues) {
      const { messageCount } = await channel.checkQueue(queue);
      if (messageCount > 0) depths[queue] = messageCount;
    }
    return depths;
  } finally {
    await connection.close();
  }
}
