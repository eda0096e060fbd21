// The relay: takes events out of the outbox and gives them to the broker. One is active in a service; the others stand by.
//
// Its lock, its reads and its deletes share one connection to the database. Whoever loses that connection has lost the lock,
// and must not publish another event: the first thing done about it is to cut the line to the broker.
//
// A row is deleted when its confirm has come. A crash between the two publishes it again, under the same id; the consumers'
// inboxes know it. Nothing is ever deleted unconfirmed.
import { CONTENT_TYPE } from '@warren/contracts';
import pg from 'pg';
import { backoff, pause } from '../backoff.ts';
import type { Logger } from '../context.ts';
import { type PublishError, Publisher } from '../messaging/confirms.ts';
import { EVENTS } from '../messaging/topology.ts';
import type { Metrics } from '../telemetry/metrics.ts';

export interface RelayOptions {
  service: string;
  databaseUrl: string;
  /** Opens a connection to the broker; rejects while it is away. */
  connect: Parameters<typeof Publisher.open>[0];
  /** Resolves when the broker is worth trying. */
  connected: () => Promise<void>;
  onBlocked: (blocked: boolean) => void;
  /** A mistake in the set-up that no waiting will mend. */
  onFatal: (error: Error) => void;
  log: Logger;
  metrics: Metrics;
}

interface Row {
  id: string;
  event_id: string;
  type: string;
  routing_key: string;
  aggregate: string;
  body: string;
  correlation_id: string;
  traceparent: string | null;
  created: number;
}

/** Events in flight to the broker at once, and rows read at once. */
const WINDOW = 1_000;
const BATCH = 500;
/** ms between looks into an outbox whose writers are in other processes: while events flow, and when nothing happens. */
const BUSY_POLL = 50;
const IDLE_POLL = 800;
const BUSY_FOR = 2_000;
/** ms between attempts of a stand-by to become the active one. */
const STANDBY_POLL = 1_000;
/** ms a statement of the relay may take before its connection counts as lost. */
const STATEMENT_TIMEOUT = 10_000;

const TRY_LOCK = `select pg_try_advisory_lock(hashtextextended('warren.outbox', 0)) as locked, pg_backend_pid() as pid`;

// Everything but the rows of $1, which are in flight. `id > cursor` would be quicker to say, but ids are drawn before
// commits: it would miss a late one, and publish a later event of the same aggregate first.
const READ = `
  select id, event_id, type, routing_key, aggregate, body, correlation_id, traceparent,
         floor(extract(epoch from created_at))::float8 as created
  from warren.outbox
  where parked_at is null and id <> all($1::bigint[]) and aggregate <> all($2::text[])
  order by id limit $3`;
// The select does not see what the same statement deletes: $1 has the deleted ones too.
const DELETE_AND_READ = `with done as (delete from warren.outbox where id = any($4::bigint[])) ${READ}`;

export class Relay {
  readonly #options: RelayOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #wake: () => void = () => {};
  #woken = false;
  /** Aborts when this process is to publish what is there and end. */
  readonly #draining = new AbortController();
  /** Whether this process holds the lock. */
  active = false;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Something was committed to the outbox in this process. */
  wake(): void {
    this.#woken = true;
    this.#wake();
  }

  /** Publishes what is there, for at most `timeout` ms and while the broker takes it, and ends. */
  async stop(timeout: number): Promise<void> {
    this.#draining.abort();
    this.wake();
    if (this.#running === undefined) return;
    const late = new AbortController();
    await Promise.race([this.#running, pause(timeout, late.signal)]);
    late.abort();
    this.#stopping.abort();
    this.wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { log, onFatal } = this.#options;
    const delays = backoff({ min: 100, max: 5_000 });
    let complained = false;
    while (!this.#draining.signal.aborted) {
      let client: pg.Client | undefined;
      try {
        client = await this.#openDatabase();
        complained = false;
        delays.reset();
        if (await this.#lock(client)) await this.#lead(client);
      } catch (error) {
        if (error instanceof PoolerError) return onFatal(error);
        if (!complained) log.warn({ err: error }, 'the outbox relay lost its database; events wait');
        complained = true;
        await pause(delays.next(), this.#draining.signal);
      } finally {
        this.active = false;
        // Not awaited: a host that has vanished does not answer a farewell.
        client?.end().catch(() => {});
      }
    }
  }

  async #openDatabase(): Promise<pg.Client> {
    const client = new pg.Client({
      connectionString: this.#options.databaseUrl,
      application_name: `${this.#options.service} relay`,
      connectionTimeoutMillis: 5_000,
      query_timeout: STATEMENT_TIMEOUT,
      keepAlive: true,
      keepAliveInitialDelayMillis: 2_000,
    });
    client.on('error', () => {});
    await client.connect();
    // When this host vanishes, the server notices in 6 s, and the lock is free. What a lost delete costs is a duplicate,
    // so there is no need to wait for the disk.
    await client.query(`
      set tcp_keepalives_idle = 2; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 2; set tcp_user_timeout = 6000;
      set synchronous_commit = off; set statement_timeout = ${STATEMENT_TIMEOUT}`);
    return client;
  }

  /** Waits, as a stand-by, for the lock. False when this process is ending. */
  async #lock(client: pg.Client): Promise<boolean> {
    await this.#refusePooler(client);
    while (!this.#draining.signal.aborted) {
      const { rows } = await client.query(TRY_LOCK);
      if (rows[0].locked) return true;
      await pause(STANDBY_POLL, this.#draining.signal);
    }
    return false;
  }

  /**
   * A pooler in transaction mode gives a session's lock to whoever comes next. It shows when a second client opens a
   * transaction: this one's statements then run on another backend.
   */
  async #refusePooler(client: pg.Client): Promise<void> {
    const pid = async (through: pg.Client) => (await through.query('select pg_backend_pid() as pid')).rows[0].pid as number;
    const other = new pg.Client({ connectionString: this.#options.databaseUrl, connectionTimeoutMillis: 5_000 });
    other.on('error', () => {});
    await other.connect();
    try {
      const mine = await pid(client);
      await other.query('begin');
      const theirs = await pid(other);
      const still = await pid(client);
      if (mine === theirs || mine !== still) throw new PoolerError();
    } finally {
      await other.end();
    }
  }

  /** As the active relay, until the database or this process ends. */
  async #lead(client: pg.Client): Promise<void> {
    const { log, connected } = this.#options;
    const delays = backoff({ min: 100, max: 5_000 });
    const session = new Session(client);
    let cautious = false;
    this.active = true;
    log.debug('this process is the active relay');
    try {
      while (!this.#stopping.signal.aborted && !session.lost) {
        let publisher: Publisher | undefined;
        try {
          await Promise.race([connected(), session.ended, aborted(this.#draining.signal)]);
          if (session.lost || this.#stopping.signal.aborted) break;
          publisher = await this.#openPublisher(session);
          if (cautious) await this.#onebyone(session, publisher);
          cautious = false;
          if (await this.#flow(session, publisher, delays)) return;
        } catch (error) {
          const { reason, code } = error as Partial<PublishError>;
          cautious = reason === 'refused' && code !== 320;
          if (session.lost || this.#stopping.signal.aborted) break;
          if (cautious) log.warn({ err: error }, 'the broker refused an event; finding out which');
          else log.debug({ err: error }, 'the relay waits for the broker');
          if (this.#draining.signal.aborted && !cautious) return;
          if (!cautious) await Promise.race([pause(delays.next(), this.#stopping.signal), session.ended]);
        } finally {
          await publisher?.close();
        }
      }
      if (session.lost) throw session.reason;
    } finally {
      session.publisher = undefined;
    }
  }

  async #openPublisher(session: Session): Promise<Publisher> {
    const publisher = await Publisher.open(this.#options.connect);
    publisher.onBlocked = this.#options.onBlocked;
    publisher.onClose = () => this.#wake();
    session.publisher = publisher;
    if (session.lost) publisher.destroy();
    return publisher;
  }

  /**
   * Reads, publishes, deletes, with reads and confirms overlapping.
   * @returns true when it has flushed the outbox because this process is ending
   * @throws {PublishError} when the broker is lost, or refused one of the messages in flight
   */
  async #flow(session: Session, publisher: Publisher, delays: { reset(): void }): Promise<boolean> {
    const inFlight = new Map<string, Row>();
    let done: string[] = [];
    let failure: PublishError | undefined;
    let busyUntil = 0;
    let wait = IDLE_POLL;
    let held: string[] = [];
    let heldAt = 0;

    for (;;) {
      if (session.lost) throw session.reason;
      if (failure !== undefined && failure.reason !== 'nacked') break;
      if (failure !== undefined && inFlight.size === 0) break; // the others' confirms are in
      if (this.#stopping.signal.aborted) break;
      if (performance.now() - heldAt > 1_000) {
        held = await session.heldAggregates();
        heldAt = performance.now();
      }

      const room = failure === undefined ? Math.min(BATCH, WINDOW - inFlight.size) : 0;
      this.#woken = false;
      const finished = done;
      done = [];
      const rows = await session.deleteAndRead(finished, [...inFlight.keys()], held, room);
      if (session.lost) throw session.reason;
      for (const row of rows) {
        inFlight.set(row.id, row);
        this.#publish(publisher, row, (error) => {
          inFlight.delete(row.id);
          if (error === undefined) done.push(row.id);
          else failure ??= error;
          // A full window is read anew when half of it is free; otherwise when all is in, or somebody commits.
          if (error !== undefined || inFlight.size === 0 || inFlight.size === WINDOW / 2) this.#wake();
        });
      }
      await publisher.room();

      const now = performance.now();
      if (rows.length > 0 || finished.length > 0) {
        delays.reset();
        busyUntil = now + BUSY_FOR;
        wait = BUSY_POLL;
      } else if (now > busyUntil) wait = Math.min(IDLE_POLL, wait * 2);

      const backlog = rows.length === room && inFlight.size <= WINDOW / 2;
      if (this.#woken || backlog || failure !== undefined) continue;
      if (inFlight.size === 0 && done.length > 0) continue;
      if (this.#draining.signal.aborted && inFlight.size === 0 && rows.length === 0) return true;
      await this.#idle(wait);
    }
    if (done.length > 0) await session.deleteAndRead(done, [], [], 0);
    if (failure !== undefined) throw failure;
    return false;
  }

  /**
   * After a refusal: one event at a time, up to what was there when it happened. What the broker refuses when it is alone in
   * flight is at fault; but when it refuses every one, it is the broker that is (its permissions, a missing exchange).
   */
  async #onebyone(session: Session, first: Publisher): Promise<void> {
    const { log } = this.#options;
    const suspects = await session.deleteAndRead([], [], await session.heldAggregates(), WINDOW);
    const refused: { row: Row; error: PublishError }[] = [];
    const held = new Set<string>();
    let publisher = first;
    let accepted = 0;
    try {
      for (const row of suspects) {
        if (this.#stopping.signal.aborted || session.lost) return;
        if (held.has(row.aggregate)) continue;
        const error = await new Promise<PublishError | undefined>((resolve) => this.#publish(publisher, row, resolve));
        if (error === undefined) {
          accepted += 1;
          await session.deleteAndRead([row.id], [], [], 0);
        } else if (error.reason === 'refused') {
          refused.push({ row, error });
          held.add(row.aggregate);
          if (accepted === 0 && refused.length === 20) break;
          if (publisher.closed) publisher = await this.#openPublisher(session);
        } else throw error;
      }
      for (const { row, error } of refused) {
        if (accepted === 0 && error.code !== 406) {
          log.error({ err: error }, 'the broker refuses every event; they wait');
          await Promise.race([pause(5_000, this.#stopping.signal), session.ended]);
          return;
        }
        await session.park(row.id, error.message);
        this.#options.metrics.eventsPublished.inc({ type: row.type, outcome: 'parked' });
        log.error(
          { err: error, eventId: row.event_id, eventType: row.type, aggregate: row.aggregate },
          'an event was parked: the broker will never take it; later events of its aggregate wait behind it',
        );
      }
    } finally {
      if (publisher !== first) await publisher.close();
    }
  }

  #publish(publisher: Publisher, row: Row, settled: (error?: PublishError) => void): void {
    const { service, metrics } = this.#options;
    const started = performance.now();
    publisher.publish(
      EVENTS,
      row.routing_key,
      Buffer.from(row.body),
      {
        messageId: row.event_id,
        type: row.type,
        timestamp: row.created,
        appId: service,
        correlationId: row.correlation_id,
        contentType: CONTENT_TYPE,
        persistent: true,
        headers: row.traceparent === null ? {} : { traceparent: row.traceparent },
      },
      (error) => {
        metrics.eventsPublished.inc({ type: row.type, outcome: error === undefined ? 'confirmed' : 'failed' });
        if (error === undefined)
          metrics.eventPublishDuration.observe({ type: row.type }, (performance.now() - started) / 1_000);
        settled(error);
      },
    );
  }

  /** Sleeps until `wake`, or `ms` have passed. */
  #idle(ms: number): Promise<void> {
    if (this.#woken) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake(), ms);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = () => {};
        resolve();
      };
    });
  }
}

const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

/** The relay's connection to the database, while it holds the lock. */
class Session {
  readonly #client: pg.Client;
  readonly ended: Promise<void>;
  publisher: Publisher | undefined;
  reason: Error | undefined;

  constructor(client: pg.Client) {
    this.#client = client;
    this.ended = new Promise((resolve) => {
      const end = (error?: Error) => {
        if (this.reason !== undefined) return;
        this.reason = error ?? new Error('the connection to the database was closed');
        this.publisher?.destroy();
        resolve();
      };
      client.on('error', end);
      client.on('end', () => end());
      this.#end = end;
    });
  }

  #end: (error?: Error) => void = () => {};

  get lost(): boolean {
    return this.reason !== undefined;
  }

  async deleteAndRead(done: string[], inFlight: string[], held: string[], limit: number): Promise<Row[]> {
    if (done.length === 0 && limit === 0) return [];
    const query =
      done.length === 0
        ? { name: 'warren-read', text: READ, values: [inFlight, held, limit] }
        : { name: 'warren-delete-and-read', text: DELETE_AND_READ, values: [[...inFlight, ...done], held, limit, done] };
    return (await this.#query(query)).rows;
  }

  /** Aggregates whose next event is parked: what came after it waits. */
  async heldAggregates(): Promise<string[]> {
    const { rows } = await this.#query({
      text: 'select distinct aggregate from warren.outbox where parked_at is not null limit 1000',
    });
    return rows.map(({ aggregate }) => aggregate);
  }

  async park(id: string, reason: string): Promise<void> {
    await this.#query({
      text: 'update warren.outbox set parked_at = now(), parked_reason = $2 where id = $1',
      values: [id, reason.slice(0, 1_000)],
    });
  }

  // Whatever goes wrong here, a time-out too, leaves in doubt whether the lock is still held.
  async #query(query: pg.QueryConfig): Promise<pg.QueryResult> {
    try {
      return await this.#client.query(query);
    } catch (error) {
      this.#end(error as Error);
      throw error;
    }
  }
}

class PoolerError extends Error {
  override readonly name = 'PoolerError';
  constructor() {
    super(
      'DATABASE_URL leads to a connection pooler in transaction mode, but the outbox relay needs a session of its own: ' +
        'point DATABASE_URL at PostgreSQL itself, or at a pool in session mode',
    );
  }
}
