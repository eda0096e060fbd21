import type { Statement } from '../database/pipeline.ts';
import type { OutboxRow } from '../outbox/outbox.ts';

/** As `insertEvents`, with one text in place of arrays, which drivers write differently. */
export const insertEventsAsJson = (rows: readonly OutboxRow[]): Statement => ({
  text: `
    insert into warren.outbox (event_id, type, routing_key, aggregate, body, correlation_id, traceparent)
    select event_id, type, routing_key, aggregate, body, correlation_id, traceparent
    from rows from (json_to_recordset($1::text::json) as (event_id uuid, type text, routing_key text, aggregate text, body text,
      correlation_id text, traceparent text)) with ordinality
      as event (event_id, type, routing_key, aggregate, body, correlation_id, traceparent, n)
    order by n`,
  values: [
    JSON.stringify(
      rows.map(({ id, type, routingKey, aggregate, body, correlationId, traceparent }) => ({
        event_id: id,
        type,
        routing_key: routingKey,
        aggregate: aggregate.toWellFormed(),
        body,
        correlation_id: correlationId.toWellFormed(),
        traceparent,
      })),
    ),
  ],
});
