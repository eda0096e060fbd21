// The outbox for any application: events are written in the application's own transaction, and a relay publishes them.
import type { AnyEvent, EventDefinition } from '@warren/events';
import { WarrenError } from '../errors.ts';
import { newId } from '../id.ts';
import { type OutboxRow, outboxRow } from '../outbox/outbox.ts';
import type { Adapter, Query } from './adapter.ts';
import { insertEventsAsJson } from './events.ts';
import { explained } from './sql-errors.ts';
import { inTransaction, isKnownOpen } from './transactions.ts';

export type { Log } from '../context.ts';
export { type ErrorCode, WarrenError } from '../errors.ts';
export type { Adapter, Query } from './adapter.ts';
export { createRelay, type OutboxRelay, type RelayOptions } from './relay.ts';

export interface OutboxOptions {
  /** The publisher: the first word of the types of its events, and of its user on the broker. */
  service: string;
  /** The events that it may emit. */
  publications: readonly AnyEvent[];
  /** Woken after each commit of `transaction`. A relay in another process finds the events by its poll, within 0.8 s. */
  relay?: { wake(): void };
  /** The clock, for the time of events. */
  now?: () => Date;
}

export interface EmitOptions {
  /** What the event is about, e.g. the id of the row. Events of one aggregate are published in the order of their commits. */
  aggregate: string;
  /** Names everything that follows from one request. @defaultValue a new id */
  correlationId?: string;
  /** Id of the event whose handler emits this one. */
  causationId?: string;
  /** W3C trace context. */
  traceparent?: string;
}

/** An event of `emitAll`. */
export interface Emission<Data extends object> extends EmitOptions {
  event: EventDefinition<Data>;
  data: NoInfer<Data>;
}

/** @typeParam Handle an open transaction of the application */
export interface Outbox<Handle> {
  /**
   * Writes an event in the caller's transaction. It is published if that commits. Lock or write the aggregate's row before.
   * In a transaction that this outbox has not opened, a statement before the insert checks that the handle is in one.
   * @returns the event's id
   * @throws {WarrenError} `event_refused`: not among the publications, or over 1 MiB; `transaction_missing`: the handle is not an open
   *   transaction; `schema_missing`: the migrations were not applied
   * @throws {ContractError} when the data does not match the event's schema
   * @example
   * await db.transaction(async (tx) => {
   *   await tx.insert(things).values(thing);
   *   await outbox.emit(tx, thingSaved, { thingId: thing.id }, { aggregate: thing.id });
   * });
   */
  emit<Data extends object>(
    handle: Handle,
    event: EventDefinition<Data>,
    data: Data,
    options: EmitOptions,
  ): Promise<string>;
  /**
   * Writes several events by one statement; those of one aggregate are published in this order.
   * @returns their ids
   * @throws as `emit` does; none of them is written then
   */
  emitAll<Data extends readonly object[]>(
    handle: Handle,
    events: { readonly [Index in keyof Data]: Emission<Data[Index]> },
  ): Promise<string[]>;
}

/** An outbox that can open transactions, because it has an adapter. */
export interface TransactionalOutbox<Handle> extends Outbox<Handle> {
  /** Runs `run` in a transaction of the adapter, and wakes the relay after the commit if events were emitted. */
  transaction<Result>(run: (handle: Handle) => Promise<Result>): Promise<Result>;
}

/**
 * The outbox of an application. Without an `adapter` the handle is a function that runs a query in the open transaction.
 * @throws {WarrenError} `invalid_service`, when a publication belongs to another service
 * @example
 * const outbox = createOutbox({ service: 'thing', publications: [thingSaved], adapter: drizzleAdapter(db, sql), relay });
 */
export function createOutbox<Handle>(
  options: OutboxOptions & { adapter: Adapter<Handle> },
): TransactionalOutbox<Handle>;
export function createOutbox(options: OutboxOptions): Outbox<Query>;
export function createOutbox<Handle>(
  options: OutboxOptions & { adapter?: Adapter<Handle> },
): Outbox<Handle> & Partial<TransactionalOutbox<Handle>> {
  const { adapter, relay } = options;
  const toRow = rowMaker(options);
  const write = rowWriter<Handle>(adapter);
  let written = 0;

  const emitAll = async (handle: Handle, events: readonly Emission<object>[]): Promise<string[]> => {
    const rows = events.map(toRow);
    await write(handle, rows);
    written += rows.length;
    return rows.map(({ id }) => id);
  };
  const emit = async <Data extends object>(
    handle: Handle,
    event: EventDefinition<Data>,
    data: Data,
    more: EmitOptions,
  ): Promise<string> => {
    const [id] = await emitAll(handle, [{ ...more, event: event as AnyEvent, data }]);
    return id as string;
  };
  if (adapter === undefined) return { emit, emitAll };
  return {
    emit,
    emitAll,
    async transaction(run) {
      const before = written;
      const result = await inTransaction(adapter, run);
      if (written > before) relay?.wake();
      return result;
    },
  };
}

/** Makes the row of an event, or throws why it cannot be emitted. */
function rowMaker({ service, publications, now = () => new Date() }: OutboxOptions) {
  const foreign = publications.find(({ from }) => from !== service);
  if (foreign !== undefined)
    throw new WarrenError(
      'invalid_service',
      `createOutbox: ${foreign.routingKey} belongs to the service '${foreign.from}', and cannot be among the publications of '${service}'`,
    );
  const routingKeys = new Set(publications.map(({ routingKey }) => routingKey));
  return ({
    event,
    data,
    aggregate,
    correlationId = newId(),
    causationId,
    traceparent,
  }: Emission<object>) => {
    if (typeof aggregate !== 'string' || aggregate === '')
      throw new WarrenError(
        'event_refused',
        `${event.routingKey} needs an aggregate: a text that is not empty`,
      );
    if (!routingKeys.has(event.routingKey))
      throw new WarrenError(
        'event_refused',
        `${event.routingKey} is not among the publications of this outbox: add it to createOutbox({ publications })`,
      );
    return outboxRow(event, data, {
      source: `/${service}`,
      aggregate,
      time: now(),
      publications: routingKeys,
      correlationId,
      ...(causationId !== undefined && { causationId }),
      ...(traceparent !== undefined && { traceparent }),
    });
  };
}

/** Takes the lock that the insert takes, too, and is refused outside a transaction. */
const CHECK_TRANSACTION = 'lock table warren.outbox in row exclusive mode';

function rowWriter<Handle>(adapter: Adapter<Handle> | undefined) {
  return async (handle: Handle, rows: readonly OutboxRow[]): Promise<void> => {
    const query = queryOf(adapter, handle);
    if (rows.length === 0) return;
    try {
      if (!isKnownOpen(handle)) await query(CHECK_TRANSACTION, []);
      const { text, values = [] } = insertEventsAsJson(rows);
      await query(text, values);
    } catch (error) {
      throw explained(error);
    }
  };
}

function queryOf<Handle>(adapter: Adapter<Handle> | undefined, handle: Handle): Query {
  if ((typeof handle !== 'object' && typeof handle !== 'function') || handle === null)
    throw new WarrenError('transaction_missing', 'emit: the first argument must be the open transaction');
  if (adapter !== undefined) return adapter.query(handle);
  if (typeof handle !== 'function')
    throw new WarrenError(
      'transaction_missing',
      'emit: without an adapter, the first argument must be a function (text, values) => Promise<rows>; or pass createOutbox an adapter',
    );
  return handle as unknown as Query;
}
