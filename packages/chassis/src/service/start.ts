// A service, from its description to a process that serves and dies well.
import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import { createAuth } from '../auth/auth.ts';
import { backoff } from '../backoff.ts';
import { pause, within } from '../concurrency.ts';
import { type ChassisConfig, loadConfig } from '../config.ts';
import type { Logger, UnitsOfWork } from '../context.ts';
import { Availability } from '../database/availability.ts';
import { type Database, openDatabase } from '../database/database.ts';
import { migrate } from '../database/migrate.ts';
import { isDatabaseUnavailable, reasonOf } from '../database/outage.ts';
import { probeDatabase } from '../database/probe.ts';
import type { Environment } from '../environment.ts';
import { createAdmin } from '../http/admin.ts';
import { createHttp } from '../http/app.ts';
import { pruneIdempotencyKeys } from '../http/idempotency.ts';
import { pruneInbox } from '../inbox/inbox.ts';
import { type BrokerDefinition, eventQueues, replyQueues } from '../messaging/broker.ts';
import { Messaging } from '../messaging/connection.ts';
import { Consumer } from '../messaging/consumer.ts';
import { FailedMessagePublisher } from '../messaging/failed-message-publisher.ts';
import { bindHandlers } from '../messaging/handlers.ts';
import { Intake } from '../messaging/intake.ts';
import { Producers } from '../messaging/producers.ts';
import { ladderOf } from '../messaging/retry-delays.ts';
import { rascalConfig } from '../messaging/topology.ts';
import { outboxHeld, outboxStats } from '../outbox/outbox.ts';
import { Relay } from '../outbox/relay.ts';
import type { ReadContext } from '../request/context.ts';
import { createRpc, type Rpc } from '../rpc/rpc.ts';
import { bindMethods } from '../rpc/serve.ts';
import { countPendingTasks, WorkerRunner } from '../tasks/worker.ts';
import { createCounters } from '../telemetry/counters.ts';
import { createLog, createMetrics, type Metrics, tracing } from '../telemetry/index.ts';
import { createUnitsOfWork } from '../units-of-work.ts';
import type { ServiceDescription } from './definition.ts';

export interface RunningService {
  /** `http://LISTEN_HOST:PORT`; 127.0.0.1 where it listens on all interfaces. */
  url: string;
  adminUrl: string;
  port: number;
  adminPort: number;
  log: Logger;
  metrics: Metrics;
  /** As /readyz tells it. */
  ready(): boolean;
  /**
   * Drains: not ready, serving on for `DRAIN_DELAY`; then takes nothing more, finishes what is in hand, flushes the outbox
   * and closes.
   * @returns false when `SHUTDOWN_GRACE` was over before that was done
   */
  stop(): Promise<boolean>;
}

export interface StartOptions {
  /** Aborts a start that waits for its database. */
  signal?: AbortSignal;
  log?: Logger;
  now?: () => Date;
  /** A mistake that shows only while running, e.g. a connection pooler that cannot work. */
  onFatal?: (error: Error) => void;
}

/** Transactions at once a queue, where batches are slow or their messages alone. */
const CONSUMER_CONCURRENCY = 5;
/** Statements and transactions at once a kind of task: claiming, renewing, settling, and what acts read. */
const TASK_CONNECTIONS = 4;
/** Requests over the broker that a service without a database serves at once; one with a database leaves half of its connections to HTTP. */
const SERVED_AT_ONCE = 20;
/** ms a handler may take before its transaction is cancelled and the event retried. */
const HANDLER_TIMEOUT = 30_000;
/** ms of SHUTDOWN_GRACE that are kept for closing connections; less of a short one. */
const CLOSING = 3_000;
const STATS_EVERY = 5_000;
const STATS_TIMEOUT = 5_000;
const PRUNE_EVERY = 600_000;
const CLOCKS = 86_400_000;

const CHASSIS_MIGRATIONS = new URL('../../migrations/', import.meta.url);

/**
 * Starts a service. Resolves when it serves HTTP, which needs its database, but not its broker.
 * @throws {ConfigError} with every mistake in the environment
 */
export async function start(
  description: ServiceDescription,
  env: Environment = process.env,
  options: StartOptions = {},
): Promise<RunningService> {
  const { name, version, broker, routes = [], handlers = {}, workers = [] } = description;
  const hasDatabase = description.migrations !== undefined;
  const config: ChassisConfig = loadConfig({
    ...(description.config !== undefined && { schema: description.config }),
    database: hasDatabase,
    broker: broker !== undefined,
    env,
  });
  const log = options.log ?? createLog({ service: name, version, level: config.LOG_LEVEL });
  const now = options.now ?? (() => new Date());
  const metrics = createMetrics({
    service: name,
    version,
    http: routes.length > 0 || description.edge !== undefined,
    database: hasDatabase,
    broker: broker !== undefined,
  });
  const auth = createAuth(config, log, now);
  const counters = createCounters(metrics.registry, description.counters ?? []);
  const producers =
    broker &&
    new Producers({
      service: name,
      url: config.AMQP_URL as string,
      check: config.PRODUCER_CHECK,
      operators: config.OPERATORS,
      log,
      metrics,
    });
  const { signal } = options;
  const traces = await tracing.start({
    service: name,
    version,
    endpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
  });

  // --- The parts ---

  // A broker that has not yet noticed the loss of a connection still holds what belongs to that one alone.
  const brokerConfig = (definition: BrokerDefinition) =>
    rascalConfig(definition, {
      retryDelays: config.RETRY_DELAYS,
      instance: `${config.INSTANCE}.${randomBytes(4).toString('hex')}`,
    });
  const subscribed = eventQueues(broker);
  const published = new Set(Object.keys(broker?.vhosts.publish.publications ?? {}));
  const queues = subscribed.map(([queue]) => queue);
  const concurrent = queues.length * CONSUMER_CONCURRENCY + workers.length * TASK_CONNECTIONS;
  const open = (role: string, connections: number, statementTimeout?: number) =>
    openDatabase<unknown>({
      url: config.DATABASE_URL as string,
      connections,
      name: `${name} ${role}`,
      log,
      onUnavailable: (error) => void (serving && availability?.check(error)),
      ...(statementTimeout !== undefined && { statementTimeout }),
    });
  // Requests and background work do not wait for each other's connections.
  const database = hasDatabase ? open('http', config.DATABASE_POOL, config.REQUEST_TIMEOUT) : undefined;
  const background = hasDatabase ? open('background', concurrent + 2) : undefined;
  // Also of a database that is away from the start there is something to tell.
  if (hasDatabase) for (const state of POOL_STATES) metrics.dbPoolConnections.set({ state }, 0);
  const availability =
    background &&
    new Availability({ probe: (space, signal) => probeDatabase(background, space, signal), log });
  availability?.onChange((available) => metrics.databaseConnected.set(available ? 1 : 0));

  let relay: Relay | undefined;
  const runners: WorkerRunner[] = [];
  // What the broker delivers while the database is away is not heard either.
  const heardSince = (): Date | undefined => {
    const since = messaging?.connectedSince;
    if (since === undefined || availability?.problem !== undefined) return undefined;
    return availability?.since !== undefined && availability.since > since ? availability.since : since;
  };
  const unitsOn = (on: Database<unknown>): UnitsOfWork =>
    createUnitsOfWork({
      service: name,
      database: on,
      config,
      now,
      publications: published,
      brokerSince: heardSince,
      counters,
      onCommit({ events, kinds }) {
        if (events) relay?.wake();
        for (const runner of runners) if (kinds.has(runner.kind)) runner.wake();
      },
    });
  const units = database && unitsOn(database);
  const backgroundUnits = background && unitsOn(background);

  // --- Readiness ---

  let serving = false;
  let draining = false;
  let queuesDeclared = queues.length === 0;
  /** Why the start waits for the database. */
  let startProblem: string | undefined;
  const databaseProblem = () => availability?.problem ?? startProblem;
  const ready = () => serving && !draining && queuesDeclared;
  const admin = createAdmin({
    registry: metrics.registry,
    live: () => true,
    ready: () => ({
      ready: ready(),
      body: {
        status: ready() ? 'ready' : draining ? 'draining' : 'starting',
        ...(messaging !== undefined && { broker: messaging.state }),
        ...(messaging?.problem !== undefined && { brokerProblem: messaging.problem }),
        ...(hasDatabase && { database: databaseProblem() === undefined ? 'connected' : 'unreachable' }),
        ...(databaseProblem() !== undefined && { databaseProblem: databaseProblem() }),
        ...(auth !== undefined && { keys: auth.hasKeys ? 'fetched' : 'missing' }),
        ...(!queuesDeclared && { waitingFor: 'its queues: they have never been declared on the broker' }),
        ...(relay !== undefined && { relay: relay.active ? 'active' : 'standby' }),
      },
    }),
  });
  const edge = description.edge?.(config, { log, count: counters });

  // --- Messaging ---

  const consumers: Consumer[] = [];
  let messaging: Messaging | undefined;
  let failedMessages: FailedMessagePublisher | undefined;
  let intake: Intake | undefined;
  let rpc: Rpc | undefined;
  if (broker !== undefined && producers !== undefined) {
    const connection = new Messaging({
      url: config.AMQP_URL as string,
      name: `${name} ${config.INSTANCE}`,
      config: () => brokerConfig(broker),
      log,
      onDeclared: async () => {
        if (queuesDeclared || background === undefined) return;
        await whenAvailable(() => rememberQueues(background, queues), log, housekeeping.signal);
        queuesDeclared = true;
      },
      onState: (state) => {
        metrics.brokerConnected.set(state === 'connected' || state === 'blocked' ? 1 : 0);
        rpc?.onBrokerState(state);
      },
    });
    messaging = connection;
    metrics.brokerConnected.set(0);
    rpc = createRpc(connection, {
      service: name,
      receivesReplies: replyQueues(broker).length > 0,
      methods: bindMethods(broker, description.methods ?? {}),
      producers,
      auth,
      concurrency: hasDatabase ? Math.ceil(config.DATABASE_POOL / 2) : SERVED_AT_ONCE,
      context: { database: units?.database as ReadContext['database'], config, now },
      log,
      metrics,
    });
    if (background !== undefined && backgroundUnits !== undefined && availability !== undefined) {
      const taking = new Intake({
        limit: (queue, prefetch) => connection.limit(queue, prefetch),
        settled: () => connection.settled(),
      });
      intake = taking;
      availability.onChange((available) => (available ? taking.resume() : taking.suspend()));
      const publisher = new FailedMessagePublisher({
        service: name,
        user: producers.user,
        connect: () => connection.connect(),
        onMissing: () => connection.checkTopology(),
        replica: { instance: config.INSTANCE, version },
      });
      failedMessages = publisher;
      for (const [queue, declared] of subscribed) {
        const consumer = new Consumer({
          queue,
          handlers: bindHandlers(declared, handlers[queue]),
          units: backgroundUnits,
          availability,
          intake: taking,
          failedMessages: publisher,
          producers,
          deliveryLimit: declared.redeliveries.limit,
          retryDelays: ladderOf(declared.retry, config.RETRY_DELAYS),
          concurrency: CONSUMER_CONCURRENCY,
          retention: config.INBOX_RETENTION,
          timeout: HANDLER_TIMEOUT,
          log,
          metrics,
          now,
        });
        consumers.push(consumer);
        connection.subscribe(queue, (session, _, releasing) => consumer.attach(session, releasing));
      }
      relay = new Relay({
        service: name,
        user: producers.user,
        databaseUrl: config.DATABASE_URL as string,
        connect: () => connection.connect(),
        connected: () => connection.connected(),
        onBlocked: (blocked: boolean, reason?: string) => connection.blocked(blocked, reason),
        onFatal: options.onFatal ?? ((error) => log.fatal({ err: error }, error.message)),
        log,
        metrics,
      });
    }
  }
  const http = createHttp({
    name,
    version,
    routes,
    edge,
    units,
    auth,
    requestFor: rpc?.requestFor,
    config,
    log,
    metrics,
    now,
  });
  if (backgroundUnits !== undefined)
    for (const worker of workers)
      runners.push(
        new WorkerRunner(worker, {
          units: backgroundUnits,
          config,
          log,
          ...(availability !== undefined && { availability }),
        }),
      );

  // --- Start, in order ---

  const closeAll = async () => {
    availability?.close();
    await failedMessages?.close();
    await rpc?.close();
    await messaging?.close();
    await database?.close();
    await background?.close();
    await http.close();
    await edge?.close?.();
    await admin.close();
    await traces.shutdown();
  };
  const housekeeping = new AbortController();
  let adminPort = 0;
  let port = 0;
  try {
    adminPort = await admin.listen(config.ADMIN_PORT, config.LISTEN_HOST);
    if (background !== undefined) {
      await whenAvailable(
        () =>
          migrate(
            config.DATABASE_URL as string,
            [
              { name: 'chassis', directory: CHASSIS_MIGRATIONS },
              { name, directory: description.migrations as URL },
            ],
            log,
            signal,
          ),
        log,
        signal,
        (problem) => {
          startProblem = problem;
          metrics.databaseConnected.set(problem === undefined ? 1 : 0);
        },
      );
      queuesDeclared ||= await queuesKnown(background, queues);
    }
    port = await http.listen(config.PORT, config.LISTEN_HOST);
  } catch (error) {
    await closeAll();
    throw error;
  }
  serving = true;
  messaging?.start();
  relay?.start();
  for (const runner of runners) runner.start();
  if (background !== undefined && availability !== undefined)
    void keepHouse(background, config, metrics, log, housekeeping.signal, {
      outbox: relay !== undefined,
      routingKeys: published,
      kinds: workers.map(({ kind }) => kind),
      pools: () => [database, background].map((each) => each?.stats()),
      availability,
    });
  log.info({ port, adminPort }, `${name} serves`);

  // --- Stop, in the opposite order ---

  async function drain(): Promise<void> {
    // Closing takes a while where the other end says nothing any more.
    const deadline = Date.now() + config.SHUTDOWN_GRACE - Math.min(CLOSING, config.SHUTDOWN_GRACE * 0.3);
    const left = (share = 1) => Math.max(0, deadline - Date.now()) * share;
    draining = true;
    log.info({ drainDelay: config.DRAIN_DELAY }, 'draining');
    if (config.DRAIN_DELAY > 0) {
      // Kept connections end one by one with their answers, and not all at once when the delay is over. Without a delay whose
      // connection has ended would knock again just when the door is shut, and be reset.
      http.closeAfterResponse();
      await pause(config.DRAIN_DELAY);
    }
    intake?.stop();
    for (const consumer of consumers) consumer.stop();
    // A request or a task that takes longer is redone, but the events of the others still go out.
    await within(
      left(0.8),
      Promise.all([
        http.drain(),
        messaging?.unsubscribe(left(0.8)),
        ...runners.map((runner) => runner.stop()),
      ]),
    );
    housekeeping.abort();
    await relay?.stop(left());
    await closeAll();
  }

  let stopping: Promise<boolean> | undefined;
  return {
    url: `http://${hostOf(config)}:${port}`,
    adminUrl: `http://${hostOf(config)}:${adminPort}`,
    port,
    adminPort,
    log,
    metrics,
    ready,
    stop() {
      stopping ??= (async () => {
        const began = performance.now();
        const inTime =
          (await within(
            config.SHUTDOWN_GRACE,
            drain().then(() => true),
          )) ?? false;
        if (inTime) log.info({ ms: Math.round(performance.now() - began) }, 'stopped');
        else
          log.error(
            { code: 'shutdown_overdue' },
            `not done within SHUTDOWN_GRACE (${config.SHUTDOWN_GRACE} ms); what is unfinished will be redone`,
          );
        return inTime;
      })();
      return stopping;
    },
  };
}

function hostOf({ LISTEN_HOST: host }: ChassisConfig): string {
  if (host === '::' || host === '0.0.0.0') return '127.0.0.1';
  return host.includes(':') ? `[${host}]` : host;
}

/** Runs `task` until the database is available; logs once that it is not, and why. */
async function whenAvailable(
  task: () => Promise<void>,
  log: Logger,
  signal?: AbortSignal,
  onProblem: (problem: string | undefined) => void = () => {},
): Promise<void> {
  const delays = backoff({ min: 100, max: 5_000 });
  for (let logged = false; ; logged = true) {
    signal?.throwIfAborted();
    try {
      await task();
      return onProblem(undefined);
    } catch (error) {
      if (!isDatabaseUnavailable(error)) throw error;
      const problem = reasonOf(error);
      onProblem(problem);
      if (!logged) log.warn({ err: error }, `database unavailable: ${problem}; waiting for it`);
      await pause(delays.next(), signal);
    }
  }
}

// A queue that was declared once keeps what this service has not heard yet; before that, it would have missed it.
async function rememberQueues(database: Database<unknown>, queues: readonly string[]): Promise<void> {
  for (const queue of queues)
    await sql`insert into warren.queues (name) values (${queue}) on conflict do nothing`.execute(
      database.kysely,
    );
}

async function queuesKnown(database: Database<unknown>, queues: readonly string[]): Promise<boolean> {
  const { rows } = await sql<{ name: string }>`select name from warren.queues`.execute(database.kysely);
  const known = new Set(rows.map(({ name }) => name));
  return queues.every((queue) => known.has(queue));
}

const POOL_STATES = ['idle', 'used', 'waiting'] as const;

/** Keeps the gauges of the database true, and its tables small. */
async function keepHouse(
  database: Database<unknown>,
  config: ChassisConfig,
  metrics: Metrics,
  log: Logger,
  signal: AbortSignal,
  parts: {
    outbox: boolean;
    routingKeys: ReadonlySet<string>;
    kinds: string[];
    pools: () => (ReturnType<Database<unknown>['stats']> | undefined)[];
    availability: Availability;
  },
): Promise<void> {
  let prunedAt = 0;
  while (!signal.aborted) {
    try {
      const pools = parts.pools().filter((pool) => pool !== undefined);
      const sum = (of: (pool: (typeof pools)[number]) => number) =>
        pools.reduce((total, pool) => total + of(pool), 0);
      const counts = {
        idle: sum(({ idle }) => idle),
        used: sum(({ total, idle }) => total - idle),
        waiting: sum(({ waiting }) => waiting),
      };
      for (const state of POOL_STATES) metrics.dbPoolConnections.set({ state }, counts[state]);
      // A database that has gone silent would hold this up for as long as TCP has patience.
      const [outbox, tasks, held] = await database.transaction(
        async (transaction) => [
          parts.outbox ? await outboxStats(transaction) : undefined,
          await countPendingTasks(transaction, parts.kinds),
          parts.outbox ? await outboxHeld(transaction) : [],
        ],
        AbortSignal.timeout(STATS_TIMEOUT),
      );
      if (outbox !== undefined) {
        metrics.outboxPending.set(outbox.pending);
        metrics.outboxOldestAge.set(outbox.oldestAge);
        metrics.outboxParked.set(outbox.parked);
        for (const key of parts.routingKeys) metrics.outboxHeld.set({ key }, 0);
        for (const each of held) metrics.outboxHeld.set({ key: each.key }, each.held);
      }
      for (const { kind, pending } of tasks) metrics.tasksPending.set({ kind }, pending);
      if (Date.now() - prunedAt > PRUNE_EVERY) {
        // A day more than the age at which events are refused, whatever the clocks say.
        await pruneInbox(database.kysely, config.INBOX_RETENTION + CLOCKS);
        await pruneIdempotencyKeys(database.kysely, config.IDEMPOTENCY_RETENTION);
        prunedAt = Date.now();
      }
    } catch (error) {
      // Its connections are closed under it.
      if (signal.aborted) return;
      if (!isDatabaseUnavailable(error) && (error as Error)?.name !== 'TimeoutError')
        log.warn({ err: error }, 'housekeeping failed');
      else await parts.availability.check(error);
    }
    await pause(STATS_EVERY, signal);
  }
}
