// The relay: takes events out of the outbox and gives them to the broker. One is active in a service; the others stand by.
//
// Its lock, its reads and its deletes share one connection to the database. Whoever loses that connection has lost the lock,
// and must not publish another event: the first thing done about it is to cut the line to the broker.
//
// A row is deleted when its confirm has come. A crash between the two publishes it again, under the same id; the consumers'
// inboxes know it. Nothing is ever deleted unconfirmed.
import pg from 'pg';
import { backoff } from '../backoff.ts';
import { pause, Waker, whenAborted, within } from '../concurrency.ts';
import type { Logger } from '../context.ts';
import { connectClient } from '../database/connect.ts';
import { type PublishError, Publisher } from '../messaging/publisher.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { Holds } from './holds.ts';
import { PoolerError, refusePooler } from './pooler.ts';
import { IN_FLIGHT_LIMIT, type PublishRow, READ_LIMIT, rowPublisher } from './publish.ts';
import { hangUp, OutboxReader, type Row } from './reader.ts';

export interface RelayOptions {
  service: string;
  /** The broker user of `connect`. */
  user: string;
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

/** Bytes of the events in flight, and of the rows read at once (the last event may exceed them). */
const BYTES_LIMIT = 8 * 1024 * 1024;
/** ms between looks into an outbox whose writers are in other processes: while events flow, and when nothing happens. */
const BUSY_POLL_MS = 50;
const IDLE_POLL_MS = 800;
const BUSY_FOR_MS = 2_000;
/** ms between attempts of a stand-by to become the active one. */
const STANDBY_POLL_MS = 1_000;
/** ms a statement of the relay may take before its connection counts as lost. */
const STATEMENT_TIMEOUT_MS = 10_000;
/** ms without trouble after which the next trouble is a new one. */
const RECONNECT_RESET_MS = 10_000;
/** ms to settle what has come back, once its time is over. */
const SHUTDOWN_SETTLE_MS = 500;
/** ms until a broker that refuses every event is tried again. */
const REFUSED_RETRY_MS = 5_000;
/** ms in which the confirms of what is in flight come in, so that the channel can be renewed. */
const RENEWAL_MS = 2_000;
/** Refusals, and events looked through, after which the broker is thought to refuse every event. */
const REFUSALS_LIMIT = 100;
const ISOLATION_LIMIT = 100_000;

const TRY_LOCK = `select pg_try_advisory_lock(hashtextextended('warren.outbox', 0)) as locked`;

export class Relay {
  readonly #options: RelayOptions;
  readonly #publish: PublishRow;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  readonly #waker = new Waker();
  /** Aborts when this process is to publish what is there and end. */
  readonly #draining = new AbortController();
  readonly #stopped = whenAborted(this.#stopping.signal);
  readonly #drained = whenAborted(this.#draining.signal);
  /** The broker has refused every event, and that has been told. */
  #refusing = false;
  /** Whether this process holds the lock. */
  active = false;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#publish = rowPublisher(options);
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Something was committed to the outbox in this process. */
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
    let complained = false;
    while (!this.#draining.signal.aborted) {
      const client = this.#newClient();
      try {
        const locked = await Promise.race([this.#elect(client), this.#drained]);
        if (locked !== true) continue;
        if (complained) log.info('outbox relay reconnected to the database');
        complained = false;
        const since = performance.now();
        await this.#lead(await OutboxReader.open(client)).finally(() => {
          if (performance.now() - since > RECONNECT_RESET_MS) delays.reset();
        });
      } catch (error) {
        if (error instanceof PoolerError) return onFatal(error);
        if (!complained)
          log.warn({ err: error }, 'outbox relay lost its database connection; events stay in the outbox');
        complained = true;
        await pause(delays.next(), this.#draining.signal);
      } finally {
        this.active = false;
        hangUp(client);
      }
    }
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

  /** Connects and waits, as a stand-by, for the lock. False when this process is ending. */
  async #elect(client: pg.Client): Promise<boolean> {
    await connectClient(client);
    // When this host vanishes, the server notices in 6 s, and the lock is free. What a lost delete costs is a duplicate,
    // so there is no need to wait for the disk.
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

  /** As the active relay, until the database or this process ends. */
  async #lead(reader: OutboxReader): Promise<void> {
    const { log, connected } = this.#options;
    const delays = backoff({ min: 100, max: 5_000 });
    const stopping = this.#stopping.signal;
    const holds = new Holds();
    let cautious = false;
    this.active = true;
    log.debug('outbox relay is active');
    for (const key of await reader.heldKeys()) this.#hold(holds, key, undefined);
    // Whatever hangs when the time is over hangs on one of the two lines.
    let timer: NodeJS.Timeout | undefined;
    const onStopping = () => {
      timer = setTimeout(() => reader.end(new Error('its time was over')), SHUTDOWN_SETTLE_MS);
    };
    stopping.addEventListener('abort', onStopping);
    try {
      while (!stopping.aborted && !reader.lost) {
        const since = performance.now();
        try {
          await Promise.race([connected(), reader.ended, this.#drained]);
          if (reader.lost || stopping.aborted) break;
          const publisher = await this.#openPublisher(reader);
          const sifted = cautious ? await this.#sift(reader, publisher, holds) : publisher;
          cautious = false;
          if (await this.#flow(reader, sifted, holds)) return;
        } catch (error) {
          const { reason, code } = error as Partial<PublishError>;
          cautious = reason === 'refused' && code !== 320;
          if (reader.lost || stopping.aborted) break;
          if (performance.now() - since > RECONNECT_RESET_MS) delays.reset();
          if (!cautious) log.debug({ err: error }, 'outbox relay cannot publish; retrying');
          else if (!this.#refusing)
            log.warn(
              { err: error },
              'the broker closed the channel over an event; publishing one by one to find it',
            );
          if (this.#draining.signal.aborted && !cautious) return;
          if (!cautious) await Promise.race([pause(delays.next(), stopping), reader.ended]);
        } finally {
          // No farewell to a broker that has not answered until now, when the time is over.
          if (stopping.aborted) reader.publisher?.destroy();
          else await reader.publisher?.close();
          reader.publisher = undefined;
          holds.forget();
        }
      }
      if (reader.lost && !stopping.aborted) throw reader.reason;
    } finally {
      stopping.removeEventListener('abort', onStopping);
      clearTimeout(timer);
    }
  }

  async #openPublisher(reader: OutboxReader): Promise<Publisher> {
    const opening = Publisher.open(this.#options.connect);
    // It may take as long as a broker that does not answer takes to be noticed.
    const publisher = await Promise.race([opening, reader.ended, this.#stopped]);
    if (publisher === undefined) {
      opening.then((late) => late.destroy()).catch(() => {});
      throw reader.reason ?? new Error('its time was over');
    }
    publisher.onBlocked = this.#options.onBlocked;
    publisher.onClose = () => this.#waker.nudge();
    publisher.onReturn = (type = '') => this.#options.metrics.eventsUnconsumed.inc({ type });
    reader.publisher = publisher;
    if (reader.lost) publisher.destroy();
    return publisher;
  }

  /**
   * Reads, publishes, deletes, with reads and confirms overlapping. A nack holds back its routing key, and nothing else.
   * @returns true when it has flushed the outbox because this process is ending; what is held stays
   * @throws {PublishError} when the broker is lost, or refused one of the messages in flight
   */
  async #flow(reader: OutboxReader, publisher: Publisher, holds: Holds): Promise<boolean> {
    const inFlight = new Map<string, Row>();
    let bytes = 0;
    let done: string[] = [];
    /** Rejected by a queue, and not yet marked as held. */
    let nacked: Row[] = [];
    // A quorum queue that is full tells each channel so, and not always that it is no longer (RabbitMQ 3.10, when a policy
    // goes): a channel that has got a nack is closed before held events are tried again, once nothing is in flight on it.
    let stale = false;
    let renewing: number | undefined;
    let failure: PublishError | undefined;
    let busyUntil = 0;
    let wait = IDLE_POLL_MS;
    const halfFree = () => inFlight.size <= IN_FLIGHT_LIMIT / 2 && bytes <= BYTES_LIMIT / 2;
    const probing = () => failure === undefined && !this.#draining.signal.aborted && halfFree();

    const send = (row: Row) => {
      inFlight.set(row.id, row);
      bytes += row.bytes;
      this.#publish(publisher, row, (error) => {
        const wasFull = !halfFree();
        inFlight.delete(row.id);
        bytes -= row.bytes;
        if (error === undefined) done.push(row.id);
        else if (error.reason === 'nacked') {
          nacked.push({ ...row, body: '' });
          stale = true;
          this.#hold(holds, row.routing_key, error);
        } else failure ??= error;
        const burstEnded = holds.settled(row, error === undefined);
        // A full window is read anew when half of it is free; otherwise when all is in, or somebody commits.
        if (error !== undefined || burstEnded || inFlight.size === 0 || (wasFull && halfFree()))
          this.#waker.nudge();
      });
    };
    /** The next events of held keys whose delay is over. */
    const probe = async () => {
      const due = probing() && !stale ? holds.due() : [];
      if (due.length === 0) return;
      const confirmed = done;
      done = [];
      if (confirmed.length > 0) await reader.delete(confirmed); // what is deleted is not read again
      reader.rewind();
      for (const { key, size } of due) {
        if (!probing()) return;
        const rows = await reader.readHeld(key, Math.min(size, READ_LIMIT), BYTES_LIMIT - bytes);
        for (const row of rows) {
          holds.sent(row);
          send(row);
        }
        if (rows.length > 0) continue;
        // All are through, or what is left waits behind events that wait for another reason.
        if (size > 1 || !(await reader.heldKeys()).includes(key)) await this.#release(reader, holds, key);
        else holds.postpone(key);
      }
    };

    await reader.look();
    for (;;) {
      if (reader.lost) throw reader.reason;
      if (failure !== undefined) break;
      if (this.#stopping.signal.aborted) break;
      if (publisher.closed !== undefined) failure ??= publisher.closed;

      if (stale && probing() && holds.wait === 0) renewing ??= performance.now();
      if (renewing !== undefined && inFlight.size === 0 && nacked.length === 0) break;
      if (renewing !== undefined && performance.now() - renewing > RENEWAL_MS) {
        for (const { key } of holds.due()) holds.postpone(key);
        renewing = undefined;
      }

      const rejected = nacked;
      nacked = [];
      if (rejected.length > 0) await reader.hold(rejected.map(({ id }) => id));
      const reading = failure === undefined && renewing === undefined && bytes < BYTES_LIMIT;
      const room = reading ? Math.min(READ_LIMIT, IN_FLIGHT_LIMIT - inFlight.size) : 0;
      this.#waker.reset();
      const finished = done;
      done = [];
      const taken = [...inFlight.keys(), ...nacked.map(({ id }) => id)];
      const { rows, more } = await reader.deleteAndRead(finished, taken, room, BYTES_LIMIT - bytes);
      if (reader.lost) throw reader.reason;
      // What was nacked meanwhile is not marked yet.
      const waiting = new Set(nacked.map(({ aggregate }) => aggregate));
      const held: string[] = [];
      for (const row of rows) {
        if (holds.has(row.routing_key)) {
          held.push(row.id);
          waiting.add(row.aggregate);
        } else if (!waiting.has(row.aggregate)) send(row);
      }
      if (held.length > 0) await reader.hold(held);
      await probe();
      await publisher.room(this.#stopping.signal);
      await reader.look();
      if (finished.length > 0 && this.#refusing) {
        this.#refusing = false;
        this.#options.log.info('the broker accepts events again');
      }

      const now = performance.now();
      if (rows.length > 0 || finished.length > 0) {
        busyUntil = now + BUSY_FOR_MS;
        wait = BUSY_POLL_MS;
      } else if (now > busyUntil) wait = Math.min(IDLE_POLL_MS, wait * 2);

      const idle = inFlight.size === 0;
      if (failure !== undefined || nacked.length > 0) continue;
      if (renewing === undefined && (this.#waker.isWoken || (more && halfFree()))) continue;
      if (idle && (done.length > 0 || renewing !== undefined)) continue;
      if (renewing === undefined && probing() && holds.wait === 0) continue;
      if (this.#draining.signal.aborted && idle && room > 0 && rows.length === 0) return true;
      await this.#waker.sleep(renewing === undefined && probing() ? Math.min(wait, holds.wait) : wait);
    }
    if (nacked.length > 0) await reader.hold(nacked.map(({ id }) => id));
    if (done.length > 0) await reader.delete(done);
    if (failure !== undefined) throw failure;
    return false;
  }

  /** @param error why; undefined when an earlier process held it */
  #hold(holds: Holds, key: string, error: PublishError | undefined): void {
    if (!holds.begin(key, error === undefined)) return;
    this.#options.log.warn(
      { routingKey: key, ...(error !== undefined && { err: error }) },
      'a queue rejected events of this routing key (is one full?); holding them back and retrying',
    );
  }

  async #release(reader: OutboxReader, holds: Holds, key: string): Promise<void> {
    await reader.release(key);
    this.#options.log.info(
      { routingKey: key, seconds: holds.end(key) },
      'events of this routing key are accepted again',
    );
  }

  /**
   * After a refusal: one event at a time, up to what was there when it happened. What the broker refuses for its own sake,
   * while it takes others, can never be published: it is parked. When it takes none it is the broker that is at fault (its
   * permissions, a missing exchange), and nothing is parked.
   * @returns the publisher to go on with: a refusal ends the one that it hits
   */
  async #sift(reader: OutboxReader, first: Publisher, holds: Holds): Promise<Publisher> {
    const { log } = this.#options;
    const refused: { row: Row; error: PublishError }[] = [];
    /** Aggregates with an event in `refused`: what came after it waits. */
    const held = new Set<string>();
    /** A topic permission speaks of a routing key, not of an event. */
    const refusedKeys = new Map<string, PublishError>();
    let publisher = first;
    let accepted = 0;
    let looked = 0;
    let after = '0';
    let culprit: PublishError | undefined;

    sifting: while (looked < ISOLATION_LIMIT && (accepted === 0 || looked < IN_FLIGHT_LIMIT)) {
      const rows = await reader.readAfter(after, READ_LIMIT, BYTES_LIMIT);
      if (rows.length === 0) break;
      for (const row of rows) {
        if (this.#stopping.signal.aborted || reader.lost) return publisher;
        after = row.id;
        looked += 1;
        if (held.has(row.aggregate)) continue;
        if (holds.has(row.routing_key)) {
          await reader.hold([row.id]);
          held.add(row.aggregate);
          continue;
        }
        let error = refusedKeys.get(row.routing_key);
        if (error === undefined) {
          error = await new Promise<PublishError | undefined>((resolve) =>
            this.#publish(publisher, row, resolve),
          );
          if (publisher.closed !== undefined && error?.reason === 'refused')
            publisher = await this.#openPublisher(reader);
        }
        if (error === undefined) {
          accepted += 1;
          await reader.delete([row.id]);
          continue;
        }
        if (error.reason === 'nacked') {
          this.#hold(holds, row.routing_key, error);
          await reader.hold([row.id]);
          held.add(row.aggregate);
          continue;
        }
        if (error.reason !== 'refused') throw error;
        culprit ??= error;
        if (!isAboutTheEvent(error)) break sifting;
        if (isAboutTheKey(error)) refusedKeys.set(row.routing_key, error);
        refused.push({ row: { ...row, body: '' }, error });
        held.add(row.aggregate);
        if (accepted === 0 && refusedKeys.size === REFUSALS_LIMIT) break sifting;
      }
    }
    const certain = refused.filter(({ error }) => accepted > 0 || !isAboutTheKey(error));
    for (const { row, error } of certain) {
      await reader.park(row.id, error.message);
      this.#options.metrics.eventsPublished.inc({ type: row.type, outcome: 'parked' });
      log.error(
        {
          code: 'publish_refused',
          err: error,
          eventId: row.event_id,
          eventType: row.type,
          aggregate: row.aggregate,
        },
        'event parked: the broker will never accept it; later events of its aggregate wait',
      );
    }
    if (culprit === undefined || accepted > 0 || certain.length > 0) return publisher;
    if (!this.#refusing)
      log.error({ err: culprit }, 'the broker refuses every event; events stay in the outbox');
    this.#refusing = true;
    await Promise.race([pause(REFUSED_RETRY_MS, this.#stopping.signal), reader.ended]);
    return publisher;
  }
}

/** The broker's answer to this one event, not to this service: a topic it may not write, a size it does not take. */
const isAboutTheEvent = (error: PublishError) =>
  error.code === 406 || error.code === 311 || isAboutTheKey(error);
const isAboutTheKey = ({ code, message }: PublishError) => code === 403 && /access to topic/.test(message);
