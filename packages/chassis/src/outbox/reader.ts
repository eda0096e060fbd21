// The relay's connection to the database: it holds the lock, reads the outbox and deletes from it. If it is lost, the lock is lost.
//
// Deleted rows stay in the index until they are vacuumed, for hours while a transaction holds an old snapshot. To not step over
// them with each read, a read begins above a low-water mark. `id > the last one` would be wrong: ids are drawn before commits, so
// a lower one may still appear, and with it an event that belongs before another one of its aggregate. The mark passes an id when no
// transaction is left that can have drawn it or a lower one: an insert holds a lock on the table from before the draw until
// after the commit, and pg_locks shows which transactions hold one.
import type pg from 'pg';
import type { Publisher } from '../messaging/publisher.ts';
import { socketOf } from '../socket.ts';

export interface Row {
  id: string;
  event_id: string;
  type: string;
  routing_key: string;
  aggregate: string;
  body: string;
  correlation_id: string;
  traceparent: string | null;
  created: number;
  /** Of the body. */
  bytes: number;
}

export interface Batch {
  rows: Row[];
  /** There may be more. */
  more: boolean;
}

/** ms between two polls of the transactions that insert, and of what is parked. */
const REFRESH_INTERVAL_MS = 250;
/** ms after which the rows below the mark are read again, in case an operator has inserted some by hand. */
const RESCAN_INTERVAL_MS = 30_000;
/** Parked events to remember, at most: with more of them, each read leaves their aggregates out by itself. */
const PARKED_LIMIT = 1_000;

/** Up to `limit` rows of the table `o`; none after the one with which their bodies reach `bytes`. */
const readRows = (condition: string, limit: string, bytes: string) => `
  select id, event_id, type, routing_key, aggregate, body, correlation_id, traceparent, bytes,
         floor(extract(epoch from created_at))::float8 as created
  from (
    select *, octet_length(body) as bytes,
           sum(octet_length(body)) over (order by id rows between unbounded preceding and 1 preceding) as before
    from (
      select * from warren.outbox o
      where ${condition} and parked_at is null
        and not exists (select from warren.outbox p where p.aggregate = o.aggregate and (p.parked_at is not null or p.held_at is not null) and p.id < o.id)
      order by id limit ${limit}
    ) batch
  ) sized
  where coalesce(before, 0) < ${bytes}
  order by id`;

// $2 are the ids in flight, $6 the highest of them. An event waits behind a parked or held one of its aggregate.
const READ = readRows(
  'id > $1 and held_at is null and (id > $6 or id <> all($2::bigint[])) and aggregate <> all($3::text[])',
  '$4',
  '$5',
);
// The select does not see the deletes of its own statement, so $2 has the deleted ids, too.
const DELETE_AND_READ = `with done as (delete from warren.outbox where id = any($7::bigint[])) ${READ}`;
const DELETE = 'delete from warren.outbox where id = any($1::bigint[])';

const HOLD = 'update warren.outbox set held_at = now() where id = any($1::bigint[]) and held_at is null';
const HELD_KEYS = 'select distinct routing_key as key from warren.outbox where held_at is not null';
// The first event of each aggregate: it is confirmed before the next one is published.
const READ_HELD = readRows('held_at is not null and routing_key = $1', '$2', '$3');
const RELEASE = 'update warren.outbox set held_at = null where routing_key = $1 and held_at is not null';

const PARKED = `select id, aggregate from warren.outbox where parked_at is not null limit ${PARKED_LIMIT + 1}`;
const DRAWN =
  'select case when is_called then last_value else last_value - 1 end as id from warren.outbox_id_seq';
const INSERTING = `
  select distinct virtualtransaction as transaction from pg_locks
  where relation = 'warren.outbox'::regclass and mode = 'RowExclusiveLock' and pid is distinct from pg_backend_pid()
    and database = (select oid from pg_database where datname = current_database())`;
// The statements of this connection have one good plan each, also when the statistics suggest another: the table is empty one
// minute, and has a million rows the next. JIT is off because disabled plan nodes carry a cost penalty that triggers it (up to
// PostgreSQL 17): 30 ms of CPU to read one row.
const PLANS = `set jit = off; set enable_seqscan = off; set enable_bitmapscan = off; set enable_sort = off; set enable_hashjoin = off;
  set enable_mergejoin = off; set plan_cache_mode = force_generic_plan`;

export class OutboxReader {
  readonly #client: pg.Client;
  /** Resolves when the connection is lost. */
  readonly ended: Promise<void>;
  readonly #resolveEnded: () => void;
  /** Cut at once when the connection is lost. */
  publisher: Publisher | undefined;
  reason: Error | undefined;

  #refreshedAt = Number.NEGATIVE_INFINITY;
  #rescannedAt = 0;
  /** The low-water mark: no event with this id or a lower one can be published. */
  #low = 0n;
  /** No further row with this id or a lower one will appear. */
  #decided = 0n;
  /** `drawn` becomes `#decided` when these transactions have ended. */
  #undecided: { drawn: bigint; transactions: Set<string> } | undefined;
  /** Aggregates with a parked event, if those are few. */
  #parkedAggregates: string[] = [];
  #parkedIds = '';
  #manyParked = false;

  static async open(client: pg.Client): Promise<OutboxReader> {
    await client.query(PLANS);
    return new OutboxReader(client);
  }

  private constructor(client: pg.Client) {
    this.#client = client;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#resolveEnded = resolve;
    client.on('error', (error) => this.end(error));
    client.on('end', () => this.end(new Error('the connection to the database was closed')));
  }

  get lost(): boolean {
    return this.reason !== undefined;
  }

  /** Cuts both connections, and gives up the lock with one of them. */
  end(reason: Error): void {
    if (this.reason !== undefined) return;
    this.reason = reason;
    this.publisher?.destroy();
    hangUp(this.#client);
    this.#resolveEnded();
  }

  /**
   * Deletes the events in `done`, and reads the next ones.
   * @param limit rows at most; 0 reads none
   * @param bytes of bodies; the last row read may exceed it
   */
  async deleteAndRead(done: string[], inFlight: string[], limit: number, bytes: number): Promise<Batch> {
    if (limit === 0) {
      if (done.length > 0) await this.delete(done);
      return { rows: [], more: false };
    }
    const decided = this.#decided; // as of before the snapshot of the read
    const skipped = [...inFlight, ...done];
    const highest = skipped.reduce((high, id) => most(high, BigInt(id)), this.#low);
    const values = [this.#low, idList(skipped), this.#parkedAggregates, limit, bytes, highest];
    const { rows } =
      done.length === 0
        ? await this.#query<Row>({ name: 'warren-read', text: READ, values })
        : await this.#query<Row>({
            name: 'warren-delete-and-read',
            text: DELETE_AND_READ,
            values: [...values, idList(done)],
          });
    const total = rows.reduce((sum, row) => sum + row.bytes, 0);
    const more = rows.length === limit || total >= bytes;
    this.#raise(decided, inFlight, rows[0]?.id);
    if (!more) this.#rescanNowAndThen();
    return { rows, more };
  }

  async delete(done: string[]): Promise<void> {
    await this.#query({ name: 'warren-delete', text: DELETE, values: [idList(done)] });
  }

  /** Reads the events after this id ('0': from the start), without parked ones and those that wait behind them. */
  async readAfter(id: string, limit: number, bytes: number): Promise<Row[]> {
    return (
      await this.#query<Row>({ name: 'warren-read', text: READ, values: [id, [], [], limit, bytes, id] })
    ).rows;
  }

  async park(id: string, reason: string): Promise<void> {
    await this.#query({
      text: 'update warren.outbox set parked_at = now(), parked_reason = $2 where id = $1',
      values: [id, reason.slice(0, 1_000)],
    });
    this.#refreshedAt = Number.NEGATIVE_INFINITY;
  }

  /** Marks events as held, because their routing key is. Later events of their aggregates wait. */
  async hold(ids: string[]): Promise<void> {
    await this.#query({ name: 'warren-hold', text: HOLD, values: [ids] });
  }

  async heldKeys(): Promise<string[]> {
    return (await this.#query<{ key: string }>({ text: HELD_KEYS })).rows.map(({ key }) => key);
  }

  /** Reads held events of a key that may be published, oldest first, one of each aggregate. */
  async readHeld(key: string, limit: number, bytes: number): Promise<Row[]> {
    const values = [key, limit, bytes];
    return (await this.#query<Row>({ name: 'warren-read-held', text: READ_HELD, values })).rows;
  }

  async release(key: string): Promise<void> {
    await this.#query({ text: RELEASE, values: [key] });
    this.rewind();
  }

  /** Lowers the mark to the start: an event that waited behind a held one may be below it. */
  rewind(): void {
    this.#low = 0n;
  }

  /** Raises the low-water mark, and polls what was parked or un-parked; does nothing if it did so a moment ago. */
  async refresh(): Promise<void> {
    const now = performance.now();
    if (now - this.#refreshedAt < REFRESH_INTERVAL_MS) return;
    this.#refreshedAt = now;

    const { rows: parked } = await this.#query<{ id: string; aggregate: string }>({ text: PARKED });
    const ids = parked
      .map(({ id }) => id)
      .sort()
      .join();
    // An event that was un-parked, or waited behind one, may be below the mark.
    if (ids !== this.#parkedIds) this.#low = 0n;
    this.#parkedIds = ids;
    this.#manyParked = parked.length > PARKED_LIMIT;
    this.#parkedAggregates = this.#manyParked ? [] : [...new Set(parked.map(({ aggregate }) => aggregate))];

    if (this.#undecided === undefined) {
      // In this order: a transaction that draws an id after the first query draws a higher one.
      const drawn = BigInt((await this.#query<{ id: string }>({ text: DRAWN })).rows[0]?.id ?? 0);
      this.#undecided = { drawn, transactions: await this.#inserting() };
      if (drawn < this.#low) this.#restart(); // the sequence was reset
    } else {
      const still = await this.#inserting();
      for (const transaction of this.#undecided.transactions)
        if (!still.has(transaction)) this.#undecided.transactions.delete(transaction);
    }
    if (this.#undecided?.transactions.size === 0) {
      this.#decided = this.#undecided.drawn;
      this.#undecided = undefined;
    }
  }

  /** Raises the mark: all events below the first row read are published, in flight or parked, up to those that may still appear. */
  #raise(decided: bigint, inFlight: string[], first: string | undefined): void {
    if (this.#manyParked) return;
    const unfinished = first === undefined ? inFlight : [...inFlight, first];
    const low = unfinished.reduce((low, id) => least(low, BigInt(id) - 1n), decided);
    this.#low = most(this.#low, low);
  }

  #rescanNowAndThen(): void {
    const now = performance.now();
    if (now - this.#rescannedAt < RESCAN_INTERVAL_MS) return;
    this.#rescannedAt = now;
    this.#low = 0n;
  }

  #restart(): void {
    this.#low = 0n;
    this.#decided = 0n;
    this.#undecided = undefined;
  }

  async #inserting(): Promise<Set<string>> {
    const { rows } = await this.#query<{ transaction: string }>({ text: INSERTING });
    return new Set(rows.map(({ transaction }) => transaction));
  }

  // After any error, a time-out too, it is unknown whether the lock is still held.
  async #query<R extends object>(query: pg.QueryConfig): Promise<pg.QueryResult<R>> {
    if (this.reason !== undefined) throw this.reason;
    try {
      return await this.#client.query<R>(query);
    } catch (error) {
      this.end(error as Error);
      throw error;
    }
  }
}

/** An array of numbers in PostgreSQL's notation: pg would escape each element. */
const idList = (ids: readonly string[]) => `{${ids.join()}}`;

const least = (a: bigint, b: bigint) => (a < b ? a : b);
const most = (a: bigint, b: bigint) => (a > b ? a : b);

/** Ends a connection without waiting: a host that has vanished does not respond. */
export function hangUp(client: pg.Client): void {
  client.end().catch(() => {});
  const stream = socketOf(client);
  setTimeout(() => stream.destroy(), 1_000).unref();
}
