// A service's connections to its broker. The states, and what leads from one to the next:
//
//   CONNECTING   checks and declares the topology on a plain connection; then Rascal opens its own connections, and declares
//                  ──► SUBSCRIBING
//   SUBSCRIBING  subscribes to every queue
//                  ──► CONNECTED; if an exchange had been missing ──► BINDING
//   BINDING      waits until the consumers of this service's events have bound their queues again, so that none misses an event
//                  ──► CONNECTED
//   CONNECTED    messages flow; the topology is checked every few seconds
//                  a memory or disk alarm ──► BLOCKED
//   BLOCKED      the broker reads nothing from publishers; consumers go on
//                  the alarm is over ──► CONNECTED
//   RELEASING    settles or requeues deliveries, then closes all sockets
//                  ──► WAITING; after `close` ──► CLOSED
//   WAITING      backoff
//                  ──► CONNECTING
//   CLOSED
//
// From every state before RELEASING, a lost connection, a deleted queue, a time-out before CONNECTED, and `close` lead to RELEASING.
// `state` reports CONNECTED, BLOCKED and CLOSED; all others are `connecting`.
import type { Connection } from 'amqplib/callback_api';
import { backoff } from '../backoff.ts';
import { pause, within } from '../concurrency.ts';
import type { Log } from '../context.ts';
import { WarrenError } from '../errors.ts';
import { Attempt } from './attempt.ts';
import { closeQuietly, withChannel } from './publisher.ts';
import {
  connectionProblem,
  connectPlain,
  openBroker,
  shutDownBroker,
  shutDownCutBroker,
} from './rascal/open.ts';
import { type BrokerConfig, promised, type RascalBroker, type RascalSession } from './rascal/rascal.ts';
import { assertTopology, checkTopology, TopologyError } from './verify-topology.ts';

export interface MessagingOptions {
  url: string;
  /** Shown in the management UI. */
  name: string;
  /** Called for every attempt, so that names with a random part are new for each connection. */
  config: () => BrokerConfig;
  log: Log;
  /** Called each time the topology has been declared, before the first message is consumed. */
  onDeclared?: () => Promise<void>;
  onState?: (state: BrokerState) => void;
  /**
   * ms between two checks of the topology: the broker does not notify a service that an exchange or a binding was deleted.
   * @defaultValue 5000
   */
  topologyCheckMs?: number;
}

export type BrokerState = 'connecting' | 'connected' | 'blocked' | 'closed';

/** `releasing` aborts when the connection is about to be closed: messages that wait are requeued, and not held any longer. */
type Subscriber = (session: RascalSession, queue: string, releasing: AbortSignal) => void;

/** ms between attempts, at most. */
const RECONNECT_MAX_MS = 5_000;
/** ms between two checks of the topology, at least. */
const TOPOLOGY_CHECK_GAP_MS = 500;
/** ms of BINDING: within that time, each consumer of this service's events has reconnected and bound its queues. */
const BIND_TIMEOUT_MS = 2 * RECONNECT_MAX_MS;
/** ms for the close handshake of a connection that may be dead. */
const CLOSE_TIMEOUT_MS = 1_000;

export class Messaging {
  readonly #options: MessagingOptions;
  readonly #subscribers = new Map<string, { subscriber: Subscriber; untilClose: boolean }>();
  readonly #stopping = new AbortController();
  /** Set in CONNECTED and BLOCKED. */
  #broker: RascalBroker | undefined;
  /** The sessions that `unsubscribe` ends. */
  readonly #sessions = new Map<string, RascalSession>();
  /** The prefetch that `limit` has set, by subscription. */
  readonly #limits = new Map<string, number>();
  /** The attempt on whose connection subscriptions are made; undefined until SUBSCRIBING, and after `unsubscribe`. */
  #subscribing: Attempt | undefined;
  #attempt: Attempt | undefined;
  #running: Promise<void> | undefined;
  #waiters: (() => void)[] = [];
  /** Ends the wait for the next check of the topology. */
  #topologyDue = new AbortController();
  #state: BrokerState = 'connecting';
  /** What was logged in this outage. */
  readonly #logged = new Set<string>();
  #lostAt = performance.now();
  /** An exchange was missing, so the queues of this service's consumers may have lost their bindings, too. */
  #wasMissing = false;
  /** Since when events are published and consumed without interruption. */
  connectedSince: Date | undefined;
  /** Why there is no connection now, in a sentence. */
  problem: string | undefined;

  constructor(options: MessagingOptions) {
    this.#options = options;
  }

  get state(): BrokerState {
    return this.#state;
  }

  /** Registers a consumer; call it before `start`. With `untilClose`, `unsubscribe` does not end it. */
  subscribe(name: string, subscriber: Subscriber, { untilClose = false } = {}): void {
    this.#subscribers.set(name, { subscriber, untilClose });
  }

  /** Returns at once; connects, and stays connected, until `close`. */
  start(): void {
    this.#running = this.#run();
  }

  /** Resolves when the broker is connected, or this is closing. */
  async connected(): Promise<void> {
    while (this.#broker === undefined && !this.#stopping.signal.aborted)
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  /**
   * Opens a further connection, for a `Publisher`.
   * @throws {WarrenError} `broker_unavailable`
   */
  async connect(): Promise<Connection> {
    if (this.#broker === undefined)
      throw new WarrenError('broker_unavailable', this.problem ?? 'the broker is not connected');
    const broker = this.#broker;
    return promised((done) => broker.connect('publish', done));
  }

  /**
   * Cancels all subscriptions but those `untilClose`.
   * @returns when deliveries in flight are settled; false if `timeout` ms have passed before
   */
  async unsubscribe(timeout: number): Promise<boolean> {
    this.#subscribing = undefined;
    return this.#cancel([...this.#sessions.keys()], timeout);
  }

  /** As `unsubscribe`, for one subscription, until its `limit` is set again. */
  async unsubscribeFrom(name: string, timeout: number): Promise<boolean> {
    this.#limits.set(name, 0);
    return this.#cancel([name], timeout);
  }

  async #cancel(names: readonly string[], timeout: number): Promise<boolean> {
    const sessions = names.map((name) => this.#sessions.get(name)).filter((session) => session !== undefined);
    for (const name of names) this.#sessions.delete(name);
    const cancelled = Promise.allSettled(
      sessions.map((session) => promised<void>((done) => session.cancel(done))),
    );
    return (await within(timeout, cancelled)) !== undefined;
  }

  /**
   * Limits the unacknowledged messages of a subscription to `prefetch`, on this connection and the next ones. 0 cancels it; without
   * `prefetch` the limit is that of broker.ts again. Deliveries in flight stay to be settled.
   */
  limit(name: string, prefetch?: number): void {
    if (prefetch === undefined) this.#limits.delete(name);
    else this.#limits.set(name, prefetch);
    this.#sessions.get(name)?.cancel(() => {});
    this.#sessions.delete(name);
    const attempt = this.#subscribing;
    if (attempt !== undefined) this.#subscribe(attempt, name).catch(attempt.lose);
  }

  /** Checks the topology now, and not at the end of its period: a publish found no exchange, or no binding. */
  checkTopology(): void {
    this.#topologyDue.abort();
  }

  /** Resolves when the broker has executed all that was sent on the consuming connection so far, or that is lost. */
  async settled(): Promise<void> {
    const vhost = this.#subscribing?.vhost;
    if (vhost === undefined) return;
    await withChannel({ createChannel: (done) => vhost.getChannel(done) }, async () => {}).catch(() => {});
  }

  /** The broker has raised, or cleared, an alarm. */
  blocked(blocked: boolean, reason?: string): void {
    if (blocked === (this.#state === 'blocked')) return;
    if (blocked)
      this.#options.log.warn({ reason }, 'the broker blocks publishers; events stay in the outbox');
    else this.#options.log.info('the broker no longer blocks publishers');
    if (this.#broker !== undefined) this.#setState(blocked ? 'blocked' : 'connected');
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    // Before CONNECTED there is nothing to settle.
    if (this.#broker === undefined) this.#attempt?.cut.abort();
    this.#attempt?.lose(new Error('closing'));
    this.#resumeWaiters();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const delays = backoff({ min: 200, max: RECONNECT_MAX_MS });
    while (!signal.aborted) {
      const attempt = new Attempt();
      this.#attempt = attempt;
      try {
        await this.#connect(attempt);
        await this.#subscribeAll(attempt);
        await this.#awaitBindings(attempt);
        this.#enterConnected(attempt);
        delays.reset();
        throw await attempt.lost;
      } catch (error) {
        attempt.clearTimeout();
        this.#broker = undefined;
        if (!signal.aborted) this.#reportLoss(error as Error);
        await this.#release(attempt);
        if (!signal.aborted) await pause(delays.next(), signal);
      }
    }
    this.#setState('closed');
  }

  /** CONNECTING */
  async #connect(attempt: Attempt): Promise<void> {
    const { url, name, config, onDeclared } = this.#options;
    attempt.config = config();
    const { cut, lose } = attempt;
    const options = { url, name, config: attempt.config, cut: cut.signal, lose };
    const open = async () => {
      const connection = await connectPlain(options, 'prepare');
      await assertTopology(connection, options.config);
      // Rascal waits forever if it loses its connection while it declares. This one is lost at the same time, and reports it.
      const onClose = (error?: Error) => lose(error ?? new Error('the connection was closed'));
      connection.on('close', onClose);
      const opened = await openBroker(options);
      connection.off('close', onClose);
      await closeQuietly(connection);
      return opened;
    };
    Object.assign(attempt, await attempt.unlessLost(open()));
    await attempt.unlessLost(onDeclared?.());
  }

  /** SUBSCRIBING */
  async #subscribeAll(attempt: Attempt): Promise<void> {
    this.#subscribing = attempt;
    for (const name of this.#subscribers.keys()) await this.#subscribe(attempt, name);
    attempt.clearTimeout();
  }

  async #subscribe(attempt: Attempt, name: string): Promise<void> {
    const { subscriber, untilClose } = this.#subscribers.get(name) as {
      subscriber: Subscriber;
      untilClose: boolean;
    };
    const prefetch = this.#limits.get(name);
    if (attempt !== this.#subscribing || prefetch === 0) return;
    const { config, lose, releasing } = attempt;
    const broker = attempt.broker as RascalBroker;
    const overrides = prefetch === undefined ? {} : { prefetch };
    const session = await promised<RascalSession>((done) => broker.subscribe(name, overrides, done));
    // A queue was deleted, or the broker cancelled the consumer: start over.
    session.on('error', (error: Error) => setImmediate(() => lose(error)));
    session.on('cancel', lose);
    session.on('close', () => setImmediate(() => lose(new Error(`the subscription to ${name} was closed`))));
    // Its limit may have changed meanwhile.
    if (this.#limits.get(name) === 0) return session.cancel(() => {});
    if (!untilClose) this.#sessions.set(name, session);
    subscriber(session, queueOf(config as BrokerConfig, name), releasing.signal);
  }

  /** BINDING, if an exchange had been missing. */
  async #awaitBindings(attempt: Attempt): Promise<void> {
    if (this.#wasMissing) await Promise.race([pause(BIND_TIMEOUT_MS, this.#stopping.signal), attempt.lost]);
    this.#wasMissing = false;
  }

  /** CONNECTED */
  #enterConnected(attempt: Attempt): void {
    this.#reportConnection();
    this.#broker = attempt.broker;
    this.#setState('connected');
    this.#resumeWaiters();
    void this.#watchTopology(attempt);
  }

  /** If something was deleted, the connection counts as lost: the next attempt declares it again, or reports why it cannot. */
  async #watchTopology({ config, vhost, cut, lose }: Attempt): Promise<void> {
    const { topologyCheckMs = 5_000 } = this.#options;
    for (;;) {
      await pause(TOPOLOGY_CHECK_GAP_MS, cut.signal);
      const due = AbortSignal.any([cut.signal, this.#topologyDue.signal]);
      await pause(topologyCheckMs - TOPOLOGY_CHECK_GAP_MS, due);
      if (cut.signal.aborted) return;
      this.#topologyDue = new AbortController();
      try {
        await checkTopology({ createChannel: (done) => vhost?.getChannel(done) }, config as BrokerConfig);
      } catch (error) {
        lose(error as Error);
      }
    }
  }

  /** RELEASING */
  async #release({ broker, cut, releasing }: Attempt): Promise<void> {
    if (broker !== undefined && this.#stopping.signal.aborted) {
      await shutDownBroker(broker, CLOSE_TIMEOUT_MS);
      cut.abort();
      return;
    }
    // Sessions that are still alive ack what is done, and requeue what waits. Rascal cancels consumers from a setImmediate, too:
    // what is requeued before that would be redelivered to them.
    const unsubscribed = this.unsubscribe(CLOSE_TIMEOUT_MS);
    setImmediate(() => releasing.abort());
    await unsubscribed;
    cut.abort();
    if (broker === undefined || this.#stopping.signal.aborted) return;
    await shutDownCutBroker(broker, CLOSE_TIMEOUT_MS);
  }

  #reportConnection(): void {
    const seconds = Math.round(performance.now() - this.#lostAt) / 1_000;
    if (this.problem === undefined) this.#options.log.info('connected to the broker');
    else this.#options.log.info({ was: this.problem, seconds }, 'broker recovered');
    this.problem = undefined;
    this.#logged.clear();
  }

  /** Logs once per outage, and once per problem that somebody has to fix; not once per attempt. */
  #reportLoss(error: Error): void {
    this.#setState('connecting');
    if (this.problem === undefined) this.#lostAt = performance.now();
    const { kind, text, isMissing } = problemOf(error, this.#options.url);
    this.#wasMissing ||= isMissing;
    this.problem = text;
    const once = kind === 'outage' ? kind : text;
    if (this.#logged.has(once)) return;
    this.#logged.add(once);
    this.#options.log[kind === 'outage' ? 'warn' : 'error']({ err: error }, text);
  }

  #setState(state: BrokerState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.connectedSince = state === 'connected' ? new Date() : undefined;
    this.#options.onState?.(state);
  }

  #resumeWaiters(): void {
    for (const resume of this.#waiters.splice(0)) resume();
  }
}

const queueOf = ({ vhosts: { publish, consume } }: BrokerConfig, subscription: string): string =>
  ({ ...publish.subscriptions, ...consume?.subscriptions })[subscription]?.queue ?? subscription;

/** Wrong password, no such vhost, no access: somebody has to fix it. */
const REFUSAL = /ACCESS[_-]REFUSED|NOT[_-]ALLOWED/;

/** It existed at the last check; the next attempt declares it again. */
const DELETED = /NOT[_-]FOUND/;

interface Problem {
  /** An outage ends by itself; the others need somebody to fix them. */
  kind: 'topology' | 'refusal' | 'outage';
  text: string;
  /** An exchange is missing, or the vhost. */
  isMissing: boolean;
}

function problemOf(error: Error, url: string): Problem {
  if (error instanceof TopologyError)
    return { kind: 'topology', text: error.message, isMissing: error.code === 'topology_missing' };
  const message = connectionProblem(error, url);
  const isMissing = /^NOT_ALLOWED/.test(message);
  if (REFUSAL.test(message))
    return { kind: 'refusal', text: `the broker refused this service: ${message}`, isMissing };
  const what = DELETED.test(message)
    ? 'an exchange, queue or binding was deleted on the broker'
    : 'broker unavailable';
  return { kind: 'outage', text: `${what}: ${message}`, isMissing };
}
