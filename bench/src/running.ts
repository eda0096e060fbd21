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
  processes: Map<ServiceName, Process>;
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
    services: system.definitions ? system.services.map(({ service }) => service) : [],
    disposable: true,
  });
  const nameOf = (service: ServiceName) => `${run}_${service}`;
  const portsOf = (service: ServiceName) =>
    stage.portsOf(system.services.findIndex((program) => program.service === service));
  const processes = new Map<ServiceName, Process>();

  const start = async (program: Program) => {
    const { service, env, tables, readyPath } = program;
    const { port, adminPort } = portsOf(service);
    const name = nameOf(service);
    const url = await createDatabase({ server: stage.database.url, name, role: { name, password: name } });
    if (tables) await query(url, tables);
    const settings = {
      NODE_ENV: 'production',
      PORT: String(port),
      AMQP_URL: system.definitions ? loaded.url(service) : loaded.operatorUrl,
      DATABASE_URL: url,
      ...(readyPath !== undefined && { ADMIN_PORT: String(adminPort), OPERATORS: loaded.operator }),
      ...env,
    };
    const readyUrl = readyPath ? `http://127.0.0.1:${adminPort}${readyPath}` : `http://127.0.0.1:${port}/`;
    processes.set(
      service,
      await launch(program, { env: settings, log: join(logs, `${service}.log`), readyUrl }),
    );
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
      for (const { service } of system.services)
        await dropDatabase(stage.database.url, nameOf(service), nameOf(service));
      await loaded.remove();
      await rm(logs, { recursive: true, force: true });
    },
  };
  try {
    // One after the other: the time from start to ready is measured, too.
    for (const program of system.services) await start(program);
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
