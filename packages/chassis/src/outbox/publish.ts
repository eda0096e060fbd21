import { CONTENT_TYPE } from '@warren/contracts';
import type { PublishError, Publisher } from '../messaging/confirms.ts';
import { EVENTS } from '../messaging/topology.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Row } from './session.ts';

/** Events in flight to the broker at once, and rows read at once. */
export const WINDOW = 1_000;
export const BATCH = 500;

/** Publishes an event of the outbox, and counts it. `settled` is called once: without an error when it is confirmed. */
export function publishRow(
  publisher: Publisher,
  row: Row,
  { service, user, metrics }: { service: string; user: string; metrics: Metrics },
  settled: (error?: PublishError) => void,
): void {
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
      userId: user,
      correlationId: row.correlation_id,
      contentType: CONTENT_TYPE,
      persistent: true,
      mandatory: true, // counted if no queue takes it: its contract allows that, or `events` has no alternate exchange
      headers: row.traceparent === null ? {} : { traceparent: row.traceparent },
    },
    (error) => {
      metrics.eventsPublished.inc({
        type: row.type,
        outcome: error === undefined ? 'confirmed' : 'failed',
      });
      if (error === undefined)
        metrics.eventPublishDuration.observe({ type: row.type }, (performance.now() - started) / 1_000);
      settled(error);
    },
  );
}
