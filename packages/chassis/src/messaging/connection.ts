// A service's life with its broker: connect, declare, subscribe; when anything of it is lost, begin again, with backoff.
import { type Connection, connect } from 'amqplib/callback_api';
import { backoff } from '../backoff.ts';
import { pause, within } from '../concurrency.ts';
import type { Logger } from '../context.ts';
import { WarrenError } from '../errors.ts';
import { closeQuietly, withChannel } from './publisher.ts';
import {
  type BrokerConfig,
  promised,
  type RascalBroker,
  type RascalSession,
  type RascalVhost,
  rascal,
} from './rascal.ts';
import { assertTopology, checkTopology, TopologyError } from './verify-topology.ts';

export interface MessagingOptions {
  url: string;
  /** Seen in the management UI. */
  name: string;
  /** Asked for with every attempt: what is named after one connection is named anew. */
  config: () => BrokerConfig;
  log: Logger;
  /** Called each time the topology has been declared, before the first message is taken. */
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
type Lose = (reason: Error) => void;

/** ms between attempts, at most. */
const RECONNECT_MAX_MS = 5_000;
/** ms between two checks of the topology, at least. */
const TOPOLOGY_CHECK_GAP_MS = 500;
/** ms that a publisher waits once the exchanges are there again: whoever hears its events has to bind its queues first. */
const BIND_TIMEOUT_MS = 2 * RECONNECT_MAX_MS;
/** ms that what is half dead may take to say farewell. */
const CLOSE_TIMEOUT_MS = 1_000;
/** ms after which an attempt to connect, declare and subscribe is given up: Rascal may wait for what will never come. */
const CONNECT_TIMEOUT_MS = 30_000;
/** ms in which Rascal has noticed that its sockets were cut. */
const DISCONNECT_NOTICE_MS = 20;

/**
 * The connections of one service to its broker. Rascal declares the topology and runs the subscriptions; its own
 * reconnection is off, because a declaration that fails while it reconnects leaks a connection each time.
 */
export class Messaging {
  readonly #options: MessagingOptions;
  readonly #subscribers = new Map<string, { subscriber: Subscriber; last: boolean }>();
  readonly #stopping = new AbortController();
  #broker: RascalBroker | undefined;
  /** Those that `unsubscribe` ends. */
  readonly #sessions = new Map<string, RascalSession>();
  /** What `limit` has set, by subscription. */
  readonly #limits = new Map<string, number>();
  /** What subscriptions are made on, once all of a connection have been made. */
  #subscribing:
    | { config: BrokerConfig; broker: RascalBroker; vhost: RascalVhost; lose: Lose; releasing: AbortSignal }
    | undefined;
  #running: Promise<void> | undefined;
  #waiters: (() => void)[] = [];
  #lose: (reason: Error) => void = () => {};
  #cut: AbortController | undefined;
  /** Ends the wait for the next check of the topology. */
  #topologyDue = new AbortController();
  #state: BrokerState = 'connecting';
  /** What of this outage has been told, and when it began. */
  readonly #told = new Set<string>();
  /** What this service needs, its consumers need too: their queues may be missing as well. */
  #wasMissing = false;
  #lostAt = performance.now();
  /** Since when events have come and gone without interruption. */
  connectedSince: Date | undefined;
  /** Why there is no connection now, in a sentence. */
  problem: string | undefined;

  constructor(options: MessagingOptions) {
    this.#options = options;
  }

  get state(): BrokerState {
    return this.#state;
  }

  /** Before `start`: what to do with the messages of a subscription. One that is `last` goes on until `close`. */
  subscribe(name: string, subscriber: Subscriber, { last = false } = {}): void {
    this.#subscribers.set(name, { subscriber, last });
  }

  /** Returns at once; connects, and stays connected, until `close`. */
  start(): void {
    this.#running = this.#run();
  }

  /** Resolves when the broker is there, or this is closing. */
  async connected(): Promise<void> {
    while (this.#broker === undefined && !this.#stopping.signal.aborted)
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  /** A further connection, for a `Publisher`. Rejects while the broker is away. */
  async connect(): Promise<Connection> {
    if (this.#broker === undefined)
      throw new WarrenError('broker_unavailable', this.problem ?? 'the broker is not connected');
    const broker = this.#broker;
    return promised((done) => broker.connect('publish', done));
  }

  /** Stops taking messages, but for what is `last`; resolves when what is in hand has been settled, or `timeout` ms have passed. */
  async unsubscribe(timeout: number): Promise<void> {
    this.#subscribing = undefined;
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    const cancelled = Promise.allSettled(
      sessions.map((session) => promised<void>((done) => session.cancel(done))),
    );
    await within(timeout, cancelled);
  }

  /**
   * From now on, on this connection and the next ones, the broker hands over at most `prefetch` messages of a subscription
   * at once; 0: none; without it: as many as broker.ts says. What it has handed over stays to be settled.
   */
  limit(name: string, prefetch?: number): void {
    if (prefetch === undefined) this.#limits.delete(name);
    else this.#limits.set(name, prefetch);
    this.#sessions.get(name)?.cancel(() => {});
    this.#sessions.delete(name);
    const { lose } = this.#subscribing ?? {};
    if (lose !== undefined) this.#subscribe(name).catch(lose);
  }

  /** Checks the topology now, and not at the end of its period: a publish found no exchange, or no binding. */
  checkTopology(): void {
    this.#topologyDue.abort();
  }

  /** Resolves when the broker has done what it was told on this connection before, or the connection is lost. */
  async settled(): Promise<void> {
    const { vhost } = this.#subscribing ?? {};
    if (vhost === undefined) return;
    await withChannel({ createChannel: (done) => vhost.getChannel(done) }, async () => {}).catch(() => {});
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    // What is not there yet need not come.
    if (this.#broker === undefined) this.#cut?.abort();
    this.#lose(new Error('closing'));
    for (const resume of this.#waiters.splice(0)) resume();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const delays = backoff({ min: 200, max: RECONNECT_MAX_MS });
    while (!signal.aborted) {
      // Of this attempt: what an earlier one left behind may still tell that it is lost.
      const { promise: lost, resolve: lose } = Promise.withResolvers<Error>();
      this.#lose = lose;
      const timer = setTimeout(
        () => lose(new Error(`no answer within ${CONNECT_TIMEOUT_MS / 1_000} s`)),
        CONNECT_TIMEOUT_MS,
      );
      // Ends every socket of this attempt: Rascal leaves one open when a declaration fails, and may wait for one that is dead.
      const cut = new AbortController();
      this.#cut = cut;
      const releasing = new AbortController();
      let broker: RascalBroker | undefined;
      try {
        const config = this.#options.config();
        const opened = await Promise.race([this.#open(config, cut.signal, lose), lost]);
        if (opened instanceof Error) throw opened;
        const [made, vhost] = opened;
        broker = made;
        const declared = await Promise.race([this.#options.onDeclared?.(), lost]);
        if (declared instanceof Error) throw declared;
        this.#subscribing = { config, broker, vhost, lose, releasing: releasing.signal };
        for (const name of this.#subscribers.keys()) await this.#subscribe(name);
        clearTimeout(timer);
        if (this.#wasMissing) await Promise.race([pause(BIND_TIMEOUT_MS, signal), lost]);
        this.#wasMissing = false;
        this.#back();
        this.#broker = broker;
        this.#move('connected');
        for (const resume of this.#waiters.splice(0)) resume();
        delays.reset();
        void this.#watchTopology(config, vhost, cut.signal, lose);
        throw await lost;
      } catch (error) {
        clearTimeout(timer);
        this.#broker = undefined;
        if (!signal.aborted) {
          this.#move('connecting');
          this.#complain(error as Error);
        }
        await this.#release(broker, cut, releasing);
        if (!signal.aborted) await pause(delays.next(), signal);
      }
    }
    this.#move('closed');
  }

  async #open(config: BrokerConfig, cut: AbortSignal, lose: Lose): Promise<[RascalBroker, RascalVhost]> {
    const connection = await connectRaw(this.#options.url, this.#socketOptions('prepare', cut));
    await assertTopology(connection, config);
    // Rascal does not tell that it lost a connection while it was declaring, and waits for ever; this one tells of its own.
    const onClose = (error?: Error) => lose(error ?? new Error('the connection was closed'));
    connection.on('close', onClose);
    const vhosts: RascalVhost[] = [];
    const onVhost = (vhost: RascalVhost) => {
      vhosts.push(vhost);
      vhost.on('error', lose);
      // Tells less than the error that may come right after it.
      vhost.on('disconnect', () => setImmediate(() => lose(new Error('the connection was closed'))));
    };
    const broker = await new Promise<RascalBroker>((resolve, reject) =>
      rascal.Broker.create(this.#rascalConfig(config, cut), { onVhost }, (error, made) => {
        made?.on('error', lose);
        // It holds the process, also where this attempt has been given up before anybody had the broker.
        const release = () => clearInterval(made?.keepActive);
        if (error || cut.aborted) release();
        else cut.addEventListener('abort', release, { once: true });
        if (error) reject(error);
        else resolve(made as RascalBroker);
      }),
    );
    connection.off('close', onClose);
    await closeQuietly(connection);
    return [broker, vhosts.at(-1) as RascalVhost];
  }

  /**
   * Rascal throws when a connection ends while it is closing it, as all do when a broker stops; so what is lost is cut before
   * the rest is taken down.
   */
  async #release(
    broker: RascalBroker | undefined,
    cut: AbortController,
    releasing: AbortController,
  ): Promise<void> {
    const shutdown = async () => {
      await within(
        CLOSE_TIMEOUT_MS,
        promised((done) => broker?.shutdown(done)).catch(() => {}),
      );
      clearInterval(broker?.keepActive);
    };
    if (broker !== undefined && this.#stopping.signal.aborted) await shutdown();
    else {
      // The sessions that are still alive acknowledge what is done, and requeue what waits. Rascal cancels consumers from a
      // setImmediate, too: what is requeued before that would be delivered to them again.
      const unsubscribed = this.unsubscribe(CLOSE_TIMEOUT_MS);
      setImmediate(() => releasing.abort());
      await unsubscribed;
    }
    cut.abort();
    if (broker === undefined || this.#stopping.signal.aborted) return;
    await pause(DISCONNECT_NOTICE_MS);
    await shutdown();
  }

  /** Where something was deleted, the connection counts as lost: all is declared anew, or the reason is told. */
  async #watchTopology(
    config: BrokerConfig,
    vhost: RascalVhost,
    cut: AbortSignal,
    lose: Lose,
  ): Promise<void> {
    const { topologyCheckMs = 5_000 } = this.#options;
    for (;;) {
      await pause(TOPOLOGY_CHECK_GAP_MS, cut);
      await pause(topologyCheckMs - TOPOLOGY_CHECK_GAP_MS, AbortSignal.any([cut, this.#topologyDue.signal]));
      if (cut.aborted) return;
      this.#topologyDue = new AbortController();
      try {
        await checkTopology({ createChannel: (done) => vhost.getChannel(done) }, config);
      } catch (error) {
        lose(error as Error);
      }
    }
  }

  async #subscribe(name: string): Promise<void> {
    const { subscriber, last } = this.#subscribers.get(name) as { subscriber: Subscriber; last: boolean };
    const prefetch = this.#limits.get(name);
    if (this.#subscribing === undefined || prefetch === 0) return;
    const { broker, config, lose, releasing } = this.#subscribing;
    const overrides = prefetch === undefined ? {} : { prefetch };
    const session = await promised<RascalSession>((done) => broker.subscribe(name, overrides, done));
    // A queue that was deleted, or a consumer that the broker cancelled: declare and subscribe again.
    session.on('error', (error: Error) => setImmediate(() => lose(error)));
    session.on('cancel', lose);
    session.on('close', () => setImmediate(() => lose(new Error(`the subscription to ${name} was closed`))));
    if (!last) this.#sessions.set(name, session);
    subscriber(session, queueOf(config, name), releasing);
  }

  /** The broker has raised, or cleared, an alarm and does not read from publishers. */
  blocked(blocked: boolean, reason?: string): void {
    if (blocked === (this.#state === 'blocked')) return;
    if (blocked)
      this.#options.log.warn({ reason }, 'the broker blocks publishers; events stay in the outbox');
    else this.#options.log.info('the broker accepts messages again');
    if (this.#broker !== undefined) this.#move(blocked ? 'blocked' : 'connected');
  }

  #back(): void {
    const seconds = Math.round(performance.now() - this.#lostAt) / 1_000;
    if (this.problem === undefined) this.#options.log.info('connected to the broker');
    else this.#options.log.info({ was: this.problem, seconds }, 'the broker is back');
    this.problem = undefined;
    this.#told.clear();
  }

  /** Once per outage, and per thing that somebody has to mend; not once per attempt. */
  #complain(error: Error): void {
    const { log } = this.#options;
    if (this.problem === undefined) this.#lostAt = performance.now();
    const isTopology = error instanceof TopologyError;
    const message = messageOf(error, this.#options.url);
    const isRefusal = !isTopology && REFUSAL.test(message);
    this.#wasMissing ||= (isTopology && error.code === 'topology_missing') || /^NOT_ALLOWED/.test(message);
    const what = isRefusal
      ? 'the broker refused this service'
      : DELETED.test(message)
        ? 'an exchange, queue or binding was deleted on the broker'
        : 'the broker is away';
    this.problem = isTopology ? error.message : `${what}: ${message}`;
    const thing = isTopology || isRefusal ? this.problem : 'away';
    if (this.#told.has(thing)) return;
    this.#told.add(thing);
    log[thing === 'away' ? 'warn' : 'error']({ err: error }, this.problem);
  }

  #move(state: BrokerState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.connectedSince = state === 'connected' ? new Date() : undefined;
    this.#options.onState?.(state);
  }

  #socketOptions(role: string, signal: AbortSignal) {
    return {
      signal,
      noDelay: true, // amqplib leaves Nagle's algorithm on
      timeout: 10_000,
      clientProperties: { connection_name: `${this.#options.name} ${role}` },
    };
  }

  #rascalConfig(config: BrokerConfig, cut: AbortSignal): object {
    const vhosts = Object.entries(config.vhosts).map(([name, vhost]) => [
      name,
      {
        ...structuredClone(vhost),
        connection: { url: withHeartbeat(this.#options.url), socketOptions: this.#socketOptions(name, cut) },
      },
    ]);
    return {
      defaults: {
        vhosts: {
          connection: { retry: false },
          // A pool that keeps a channel ready waits for a new one when the connection is lost, and so does its end.
          publicationChannelPools: { regularPool: { min: 0 }, confirmPool: { min: 0 } },
        },
        subscriptions: { retry: false, closeTimeout: 60_000, contentType: 'application/octet-stream' },
      },
      vhosts: Object.fromEntries(vhosts),
    };
  }
}

const queueOf = ({ vhosts: { publish, consume } }: BrokerConfig, subscription: string): string =>
  ({ ...publish.subscriptions, ...consume?.subscriptions })[subscription]?.queue ?? subscription;

/** Wrong password, no such vhost, no access: waiting alone does not mend it. */
const REFUSAL = /ACCESS[_-]REFUSED|NOT[_-]ALLOWED/;

/** What was there at the last look; it is declared again. */
const DELETED = /NOT[_-]FOUND/;

/** What amqplib and Node leave unsaid. */
function messageOf(error: Error, url: string): string {
  if (/^Expected ConnectionOpenOk; got <ConnectionClose/.test(error.message)) {
    const { username, pathname } = new URL(url);
    const vhost = decodeURIComponent(pathname.slice(1)) || '/';
    return `NOT_ALLOWED - vhost '${vhost}' does not exist, is down or full, or user '${decodeURIComponent(username)}' has no permissions on it, or as many connections as it may have`;
  }
  if (error.message !== '') return error.message;
  if (error instanceof AggregateError) return error.errors.map((one) => messageOf(one, url)).join(', ');
  return String((error as { code?: unknown }).code ?? error.name);
}

/** The broker notices a dead client, and the client a dead broker, in 20 to 30 s; an URL may say otherwise. */
function withHeartbeat(url: string): string {
  const parsed = new URL(url);
  if (!parsed.searchParams.has('heartbeat')) parsed.searchParams.set('heartbeat', '10');
  return parsed.toString();
}

async function connectRaw(url: string, socketOptions: object): Promise<Connection> {
  return new Promise((resolve, reject) =>
    connect(withHeartbeat(url), socketOptions, (error, connection) => {
      if (error) return reject(error);
      connection.on('error', () => {});
      resolve(connection);
    }),
  );
}
