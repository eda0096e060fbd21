// The transactional outbox: an event is a row, written in the transaction that it reports.
import { type AnyEvent, buildEvent, type EventDefinition } from '@warren/events';
import type { Statement } from '../database/pipeline.ts';
import { WarrenError } from '../errors.ts';
import { newId } from '../id.ts';
import { currentTraceparent } from '../telemetry/tracing.ts';

/** Largest event, in bytes of its envelope. RabbitMQ 4 refuses messages over 16 MiB; an event is a fact, not a document. */
export const MAX_EVENT_BYTES = 1024 * 1024;

/** A row of the outbox. */
export interface OutboxRow {
  id: string;
  type: string;
  routingKey: string;
  aggregate: string;
  /** The envelope, as JSON. */
  body: string;
  correlationId: string;
  traceparent: string | undefined;
}

/**
 * Makes the row of an event; the relay publishes it once its transaction has committed.
 * @throws {WarrenError} `event_refused`, when the service does not declare the publication, or the event is larger than `MAX_EVENT_BYTES`
 * @throws {ContractError} when the data does not fit its contract
 */
export function outboxRow<Data extends object>(
  definition: EventDefinition<Data>,
  data: Data,
  options: {
    source: string;
    aggregate: string;
    time: Date;
    correlationId: string;
    causationId?: string;
    traceparent?: string;
    publications: ReadonlySet<string>;
  },
): OutboxRow {
  const { source, aggregate, time, correlationId, causationId } = options;
  if (!options.publications.has(definition.routingKey))
    throw new WarrenError('event_refused', undeclared(definition));
  const id = newId();
  const traceparent = currentTraceparent() ?? options.traceparent;
  const event = buildEvent(definition, {
    id,
    source,
    time,
    data,
    subject: aggregate,
    correlationId,
    ...(causationId !== undefined && { causationId }),
    ...(traceparent !== undefined && { traceparent }),
  });
  const body = JSON.stringify(event);
  if (body.length > MAX_EVENT_BYTES / 3 && Buffer.byteLength(body) > MAX_EVENT_BYTES)
    throw new WarrenError(
      'event_refused',
      `${definition.type} ${id} has ${Buffer.byteLength(body)} bytes; an event has at most ${MAX_EVENT_BYTES}`,
    );
  const { type, routingKey } = definition;
  return { id, type, routingKey, aggregate, body, correlationId, traceparent };
}

/** Writes events in the order of `rows`, in which those of one aggregate are published. */
export const insertEvents = (rows: readonly OutboxRow[]): Statement => ({
  text: `
    insert into warren.outbox (event_id, type, routing_key, aggregate, body, correlation_id, traceparent)
    select event_id, type, routing_key, aggregate, body, correlation_id, traceparent
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) with ordinality
      as event (event_id, type, routing_key, aggregate, body, correlation_id, traceparent, n)
    order by n`,
  values: [
    rows.map(({ id }) => id),
    rows.map(({ type }) => type),
    rows.map(({ routingKey }) => routingKey),
    rows.map(({ aggregate }) => aggregate),
    rows.map(({ body }) => body),
    rows.map(({ correlationId }) => correlationId),
    rows.map(({ traceparent }) => traceparent ?? null),
  ],
});

const undeclared = ({ routingKey }: AnyEvent) =>
  `${routingKey} is not among the publications of this service: add it to them (broker.ts, or the option publications)`;
