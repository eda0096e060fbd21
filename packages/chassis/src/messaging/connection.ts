// A service's life with its broker: connect, declare, subscribe; when anything of it is lost, begin again, with backoff.
import { type Connection, connect } from 'amqplib/callback_api';
import { backoff, pause } from '../backoff.ts';
import type { Logger } from '../context.ts';
import { WarrenError } from '../errors.ts';
import { closeQuietly } from './confirms.ts';
import { prepareTopology, TopologyError } from './declare.ts';
import { type BrokerConfig, promised, type RascalBroker, type RascalSession, rascal } from './rascal.ts';

export interface MessagingOptions {
  url: string;
  /** Seen in the management UI. */
  name: string;
  config: BrokerConfig;
  log: Logger;
  /** Called each time the topology has been declared, before the first message is taken. */
  onDeclared?: () => Promise<void>;
  onState?: (state: BrokerState) => void;
}

export type BrokerState = 'connecting' | 'connected' | 'blocked' | 'closed';

type Subscriber = (session: RascalSession) => void;

/**
 * The connections of one service to its broker. Rascal declares the topology and runs the subscriptions; its own
 * reconnection is off, because a declaration that fails while it reconnects leaks a connection each time.
 */
export class Messaging {
  readonly #options: MessagingOptions;
  readonly #subscribers = new Map<string, Subscriber>();
  readonly #stopping = new AbortController();
  #broker: RascalBroker | undefined;
  #sessions: RascalSession[] = [];
  #running: Promise<void> | undefined;
  #waiters: (() => void)[] = [];
  #lose: (reason: Error) => void = () => {};
  #state: BrokerState = 'connecting';
  /** Why there is no connection, in a sentence. */
  problem: string | undefined;

  constructor(options: MessagingOptions) {
    this.#options = options;
  }

  get state(): BrokerState {
    return this.#state;
  }

  /** Before `start`: what to do with the messages of a subscription. */
  subscribe(name: string, subscriber: Subscriber): void {
    this.#subscribers.set(name, subscriber);
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

  /** Stops taking messages; resolves when what is in hand has been settled, or `timeout` ms have passed. */
  async unsubscribe(timeout: number): Promise<void> {
    const cancelled = Promise.allSettled(
      this.#sessions.splice(0).map((session) => promised<void>((done) => session.cancel(done))),
    );
    await Promise.race([cancelled, pause(timeout, undefined)]);
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    this.#lose(new Error('closing'));
    for (const resume of this.#waiters.splice(0)) resume();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    const { signal } = this.#stopping;
    const delays = backoff({ min: 200, max: 5_000 });
    while (!signal.aborted) {
      const lost = new Promise<Error>((resolve) => {
        this.#lose = resolve;
      });
      // Ends every socket of this attempt: Rascal leaves one open when a declaration fails, and may wait for one that is dead.
      const cut = new AbortController();
      let broker: RascalBroker | undefined;
      try {
        broker = await this.#open(cut.signal);
        await this.#options.onDeclared?.();
        await this.#subscribeAll(broker);
        if (this.problem === undefined) log.info('connected to the broker');
        else log.info({ was: this.problem }, 'the broker is back');
        this.problem = undefined;
        this.#broker = broker;
        this.#move('connected');
        for (const resume of this.#waiters.splice(0)) resume();
        delays.reset();
        throw await lost;
      } catch (error) {
        this.#broker = undefined;
        this.#sessions = [];
        if (!signal.aborted) {
          this.#move('connecting');
          this.#complain(error as Error);
        }
        await shutdown(broker);
        cut.abort();
        if (!signal.aborted) await pause(delays.next(), signal);
      }
    }
    this.#move('closed');
  }

  async #open(cut: AbortSignal): Promise<RascalBroker> {
    const connection = await connectRaw(this.#options.url, this.#socketOptions('prepare', cut));
    await prepareTopology(connection, this.#options.config);
    await closeQuietly(connection);
    const broker = await new Promise<RascalBroker>((resolve, reject) =>
      rascal.Broker.create(this.#rascalConfig(cut), (error, made) => {
        if (!error) return resolve(made as RascalBroker);
        clearInterval(made?.keepActive);
        reject(error);
      }),
    );
    broker.on('error', (error: Error) => this.#lose(error));
    broker.on('disconnect', () => this.#lose(new Error('the connection was closed')));
    broker.on('blocked', (reason: string) => this.blocked(true, reason));
    broker.on('unblocked', () => this.blocked(false));
    return broker;
  }

  async #subscribeAll(broker: RascalBroker): Promise<void> {
    for (const [name, subscriber] of this.#subscribers) {
      const session = await promised<RascalSession>((done) => broker.subscribe(name, done));
      // A queue that was deleted, or a consumer that the broker cancelled: declare and subscribe again.
      session.on('error', (error: Error) => this.#lose(error));
      session.on('cancel', (error: Error) => this.#lose(error));
      session.on('close', () => this.#lose(new Error(`the subscription to ${name} was closed`)));
      this.#sessions.push(session);
      subscriber(session);
    }
  }

  /** The broker has raised, or cleared, an alarm and does not read from publishers. */
  blocked(blocked: boolean, reason?: string): void {
    if (blocked === (this.#state === 'blocked')) return;
    if (blocked)
      this.#options.log.warn({ reason }, 'the broker blocks publishers; events wait in the outbox');
    else this.#options.log.info('the broker takes messages again');
    if (this.#broker !== undefined) this.#move(blocked ? 'blocked' : 'connected');
  }

  #complain(error: Error): void {
    const sentence =
      error instanceof TopologyError ? error.message : `the broker is away: ${error.message || error.name}`;
    // Once per outage and reason, not once per attempt.
    if (this.problem !== undefined && (this.problem === sentence || !(error instanceof TopologyError)))
      return;
    this.problem = sentence;
    if (error instanceof TopologyError) this.#options.log.error({ err: error }, sentence);
    else this.#options.log.warn({ err: error }, sentence);
  }

  #move(state: BrokerState): void {
    if (state === this.#state) return;
    this.#state = state;
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

  #rascalConfig(cut: AbortSignal): object {
    const vhosts = Object.entries(this.#options.config.vhosts).map(([name, vhost]) => [
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

/** What is half dead may never answer; its sockets are cut after this. */
async function shutdown(broker: RascalBroker | undefined): Promise<void> {
  if (broker === undefined) return;
  // What dies while it is shut down tells nobody any more.
  broker.on('error', () => {});
  await Promise.race([promised((done) => broker.shutdown(done)).catch(() => {}), pause(1_000)]);
  clearInterval(broker.keepActive);
}

/** The broker notices a dead client, and the client a dead broker, in 20 s; an URL may say otherwise. */
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
