// One system on the stage: a vhost and databases of its own, its services as processes, and what is left when they have stopped.
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createDatabase,
  databaseUrl,
  dropDatabase,
  type Loaded,
  loadDefinitions,
  query,
  registerCleanup,
} from '@warren/testkit';
import { connect } from 'amqplib';
import { Front } from './front.ts';
import { launch, type Process } from './processes.ts';
import type { Stage } from './stage.ts';
import type { Program, ServiceName, System } from './systems.ts';

type Ports = ReturnType<Stage['portsOf']>;

/** A process that a system has, whether or not it runs. */
interface Slot extends Ports {
  program: Program;
  /** `order`, and `order-2` where there are replicas. */
  name: string;
}

export interface RunOptions {
  /** Of each service but `user`. @defaultValue 1 */
  replicas?: number;
  /** For each service of that name, over what the system says. */
  env?: Record<ServiceName, Record<string, string>>;
  /** Each service has an address that stays when it is replaced. */
  hasFronts?: boolean;
}

let runs = 0;

export class RunningSystem {
  readonly system: System;
  /** By service; a further replica is `order-2`. */
  readonly processes = new Map<string, Process>();
  readonly #stage: Stage;
  readonly #slots: readonly Slot[];
  readonly #vhost: Loaded;
  readonly #logs: string;
  readonly #env: NonNullable<RunOptions['env']>;
  readonly #fronts = new Map<ServiceName, Front>();
  /** Of the next process that replaces another. */
  #spare: Ports;
  #launches = 0;

  private constructor(stage: Stage, system: System, { replicas = 1, env = {} }: RunOptions, vhost: Loaded) {
    this.system = system;
    this.#stage = stage;
    this.#vhost = vhost;
    this.#env = env;
    this.#slots = slotsOf(stage, system, replicas);
    this.#spare = stage.portsOf(this.#slots.length);
    this.#logs = mkdtempSync(join(tmpdir(), 'warren-bench-logs-'));
    registerCleanup({ type: 'directory', path: this.#logs });
  }

  /** Resolves when all of it is ready. */
  static async start(stage: Stage, system: System, options: RunOptions = {}): Promise<RunningSystem> {
    runs += 1;
    const vhost = await loadDefinitions({
      management: stage.management,
      brokerUrl: stage.broker.url,
      vhost: `bench-${process.pid}-${runs}`,
      definitions: system.definitions ?? {},
    });
    const running = new RunningSystem(stage, system, options, vhost);
    try {
      if (options.hasFronts)
        for (const { name, port } of running.#slots) running.#fronts.set(name, await Front.open(port));
      for (const program of system.services) if (program.hasDatabase) await running.#makeDatabase(program);
      await running.launch();
    } catch (error) {
      await running.remove();
      throw error;
    }
    return running;
  }

  /** Base URLs of a service's replicas; with a front, its URL. */
  urls(service: ServiceName): string[] {
    const front = this.#fronts.get(service);
    if (front) return [front.url];
    return this.#slots
      .filter(({ program }) => program.service === service)
      .map(({ port }) => `http://127.0.0.1:${port}`);
  }

  /** Its database, as a user with every right. */
  databaseUrl(service: ServiceName): string {
    return databaseUrl(this.#stage.database.url, this.#nameOf(service));
  }

  /** Its vhost, as the service's user, or else as one with every right. */
  brokerUrl(service?: ServiceName): string {
    return service !== undefined && this.system.definitions
      ? this.#vhost.url(service)
      : this.#vhost.operatorUrl;
  }

  /** Starts what does not run; resolves when it is ready. One after the other, for the time that it takes is measured. */
  async launch(): Promise<void> {
    for (const slot of this.#slots) {
      if (!this.processes.has(slot.name)) this.processes.set(slot.name, await this.#launch(slot));
    }
  }

  #launch(slot: Slot): Promise<Process> {
    const { program, name, port, adminPort } = slot;
    const readyUrl = program.readyPath
      ? `http://127.0.0.1:${adminPort}${program.readyPath}`
      : `http://127.0.0.1:${port}/`;
    this.#launches += 1;
    const log = join(this.#logs, `${name}.${this.#launches}.log`);
    return launch(program, { env: this.#environmentOf(slot), log, readyUrl });
  }

  /** Replaces a service that has a front as a deployment rolls: a new process is ready, takes new connections, and the old one ends. */
  async roll(service: ServiceName): Promise<void> {
    const slot = this.#slots.find(({ name }) => name === service) as Slot;
    const old = this.processes.get(service) as Process;
    const { port, adminPort } = slot;
    Object.assign(slot, this.#spare);
    this.processes.set(service, await this.#launch(slot));
    (this.#fronts.get(service) as Front).port = slot.port;
    await old.stop();
    this.#spare = { port, adminPort };
  }

  /** Ends the processes; vhost and databases stay. */
  async stop(): Promise<void> {
    await Promise.all([...this.processes.values()].map((each) => each.stop()));
    this.processes.clear();
  }

  /** Messages in each queue that has any. Exact once the processes have stopped: what they held is ready again. */
  async queueDepths(): Promise<Record<string, number>> {
    const path = `queues/${this.#vhost.vhost}?columns=name,exclusive`;
    const all = await this.#stage.management.request<{ name: string; exclusive?: boolean }[]>('GET', path);
    // One for replies ends with its connection, and nobody else may see its depth.
    const queues = (all ?? []).filter(({ exclusive }) => !exclusive);
    const connection = await connect(this.#vhost.operatorUrl);
    try {
      const channel = await connection.createChannel();
      const depths: Record<string, number> = {};
      for (const { name } of queues) {
        const { messageCount } = await channel.checkQueue(name);
        if (messageCount > 0) depths[name] = messageCount;
      }
      return depths;
    } finally {
      await connection.close();
    }
  }

  /** Ends what runs, and removes vhost, databases and logs. */
  async remove(): Promise<void> {
    await this.stop();
    for (const front of this.#fronts.values()) front.close();
    for (const { service, hasDatabase } of this.system.services)
      if (hasDatabase)
        await dropDatabase(this.#stage.database.url, this.#nameOf(service), this.#nameOf(service));
    await this.#vhost.remove();
    await rm(this.#logs, { recursive: true, force: true });
  }

  /** Of a service's database and of the role that owns it, whose password it is, too. */
  #nameOf(service: ServiceName): string {
    return `${this.#vhost.vhost}_${service}`;
  }

  async #makeDatabase({ service, tables }: Program): Promise<void> {
    const name = this.#nameOf(service);
    const role = { name, password: name };
    const url = await createDatabase({ server: this.#stage.database.url, name, role });
    if (tables) await query(url, tables);
  }

  #environmentOf({ program, port, adminPort }: Slot): Record<string, string> {
    const { service, hasDatabase, readyPath, isGateway, env } = program;
    const addresses = this.#slots.map((other) => [
      `${other.program.service.toUpperCase()}_URL`,
      this.urls(other.program.service)[0] as string,
    ]);
    const database = new URL(this.databaseUrl(service));
    database.username = database.password = this.#nameOf(service);
    return {
      NODE_ENV: 'production',
      PORT: String(port),
      AMQP_URL: this.brokerUrl(service),
      ...(hasDatabase && { DATABASE_URL: database.href }),
      ...(readyPath !== undefined && { ADMIN_PORT: String(adminPort), OPERATORS: this.#vhost.operator }),
      ...(isGateway && Object.fromEntries(addresses)),
      ...env,
      ...this.#env[service],
    };
  }
}

function slotsOf(stage: Stage, system: System, replicas: number): Slot[] {
  return system.services
    .flatMap((program) =>
      Array.from({ length: program.service === 'user' ? 1 : replicas }, (_, index) => ({
        program,
        name: index === 0 ? program.service : `${program.service}-${index + 1}`,
      })),
    )
    .map((slot, index) => ({ ...slot, ...stage.portsOf(index) }));
}
