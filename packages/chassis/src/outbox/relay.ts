// The outbox relay: publishes the events of the outbox, and deletes each when the broker has confirmed it. In a service, one replica
// relays, and the others stand by. Its states, and what leads from one to the next:
//
//   STANDBY      connects to the database, and polls for the advisory lock
//                  has the lock ──► CONNECTING
//   CONNECTING   waits for the broker, and opens a confirm channel
//                  ──► PUBLISHING; after a refusal ──► ISOLATING
//   PUBLISHING   reads, publishes and deletes, many events at once
//                  the channel is lost ──► WAITING
//                  the broker closes the channel over one of the events in flight ──► CONNECTING, then ISOLATING
//                  the channel has to be renewed for held events ──► CONNECTING
//   ISOLATING    publishes event by event, and parks those that the broker will never accept
//                  ──► PUBLISHING
//   WAITING      backoff
//                  ──► CONNECTING
//   ENDED
//
// STANDBY is in this file, PUBLISHING in publishing.ts, ISOLATING in isolation.ts, the others are in leader.ts.
//
// From every state, a lost database connection leads to STANDBY. The lock is held by the connection that also reads and deletes,
// so a relay that loses it has lost the lock, too, and must not publish another event: it cuts its broker connection first.
// `stop` lets PUBLISHING empty the outbox, and leads to ENDED when that is done, cannot be done, or its time-out is over.
//
// A crash between a confirm and its delete publishes the event again, under the same id; the inboxes of its consumers know it.
import pg from 'pg';
import { backoff } from '../backoff.ts';
import { pause, Waker, whenAborted, within } from '../concurrency.ts';
import { connectClient } from '../database/connect.ts';
import { Leader, type LeaderOptions } from './leader.ts';
import { PoolerError, refusePooler } from './pooler.ts';
import { rowPublisher } from './publish.ts';
import { hangUp, OutboxReader } from './reader.ts';

export interface RelayOptions
  extends Pick<LeaderOptions, 'connect' | 'connected' | 'onBlocked' | 'log' | 'hooks'> {
  service: string;
  /** The broker user of `connect`. */
  user: string;
  databaseUrl: string;
  /** A mistake in the configuration, which somebody has to fix. */
  onFatal: (error: Error) => void;
}

/** ms between attempts of a stand-by to get the lock. */
const STANDBY_POLL_MS = 1_000;
/** ms a statement of the relay may take before its connection counts as lost. */
const STATEMENT_TIMEOUT_MS = 10_000;
/** ms as the leader after which the next failure counts as the first. */
const RECONNECT_RESET_MS = 10_000;

const TRY_LOCK = `select pg_try_advisory_lock(hashtextextended('warren.outbox', 0)) as locked`;

export class Relay {
  readonly #options: RelayOptions;
  readonly #leader: Leader;
  readonly #waker = new Waker();
  /** Aborts when this process is to publish what is there, and end. */
  readonly #draining = new AbortController();
  /** Aborts when the time for that is over. */
  readonly #stopping = new AbortController();
  readonly #drained = whenAborted(this.#draining.signal);
  #running: Promise<void> | undefined;
  /** Whether this process holds the lock. */
  active = false;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#leader = new Leader({
      ...options,
      publish: rowPublisher(options),
      waker: this.#waker,
      draining: this.#draining.signal,
      stopping: this.#stopping.signal,
    });
  }

  start(): void {
    this.#running = this.#run();
  }

  /** A transaction of this process has written to the outbox. */
  wake(): void {
    this.#waker.wake();
  }

  /** Publishes what is there, for at most `timeout` ms and while the broker takes it, and ends. */
  async stop(timeout: number): Promise<void> {
    this.#draining.abort();
    this.wake();
    if (this.#running === undefined) return;
    await within(timeout, this.#running);
    this.#stopping.abort();
    this.wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { log, onFatal } = this.#options;
    const delays = backoff({ min: 100, max: 5_000 });
    let isOutage = false;
    while (!this.#draining.signal.aborted) {
      const client = this.#newClient();
      try {
        const locked = await Promise.race([this.#standBy(client), this.#drained]);
        if (locked !== true) continue;
        if (isOutage) log.info('outbox relay reconnected to the database');
        isOutage = false;
        const since = performance.now();
        await this.#lead(client).finally(() => {
          if (performance.now() - since > RECONNECT_RESET_MS) delays.reset();
        });
      } catch (error) {
        if (error instanceof PoolerError) return onFatal(error);
        if (!isOutage)
          log.warn({ err: error }, 'outbox relay lost its database connection; events stay in the outbox');
        isOutage = true;
        await pause(delays.next(), this.#draining.signal);
      } finally {
        this.active = false;
        hangUp(client);
      }
    }
  }

  async #lead(client: pg.Client): Promise<void> {
    const reader = await OutboxReader.open(client);
    this.active = true;
    await this.#leader.lead(reader);
  }

  #newClient(): pg.Client {
    const client = new pg.Client({
      connectionString: this.#options.databaseUrl,
      application_name: `${this.#options.service} relay`,
      connectionTimeoutMillis: 5_000,
      query_timeout: STATEMENT_TIMEOUT_MS,
      keepAlive: true,
      keepAliveInitialDelayMillis: 2_000,
    });
    client.on('error', () => {});
    return client;
  }

  /** STANDBY. @returns whether it has the lock; false when this process is ending */
  async #standBy(client: pg.Client): Promise<boolean> {
    await connectClient(client);
    // If this host vanishes, the server notices within 6 s and frees the lock. A delete that is lost costs a duplicate, so no
    // commit has to wait for the disk.
    await client.query(`
      set tcp_keepalives_idle = 2; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 2; set tcp_user_timeout = 6000;
      set synchronous_commit = off; set statement_timeout = ${STATEMENT_TIMEOUT_MS}`);
    await refusePooler(client, this.#options.databaseUrl);
    while (!this.#draining.signal.aborted) {
      const { rows } = await client.query(TRY_LOCK);
      if (rows[0].locked) return true;
      await pause(STANDBY_POLL_MS, this.#draining.signal);
    }
    return false;
  }
}
