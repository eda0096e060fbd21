// Publishes one event of the outbox; used by PUBLISHING and by ISOLATING.
import { CONTENT_TYPE } from '@warren/events';
import type { PublishError, Publisher } from '../messaging/publisher.ts';
import { EVENTS } from '../messaging/topology.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Row } from './reader.ts';

/** Events in flight, at most. */
export const IN_FLIGHT_LIMIT = 1_000;
/** Rows of one read, at most. */
export const READ_LIMIT = 500;
/** Bytes of the events in flight, and of one read; the last event may exceed them. */
export const BYTES_LIMIT = 8 * 1024 * 1024;

/** Publishes an event, and counts it. `settled` is called once: without an error when it is confirmed. */
export type PublishRow = (publisher: Publisher, row: Row, settled: (error?: PublishError) => void) => void;

export function rowPublisher(options: { service: string; user: string; metrics: Metrics }): PublishRow {
  const { service, user, metrics } = options;
  const metricsOf = metricsByType(metrics);
  return (publisher, row, settled) => {
    const { confirmed, failed, duration } = metricsOf(row.type);
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
        if (error === undefined) {
          confirmed.inc();
          duration.observe((performance.now() - started) / 1_000);
        } else failed.inc();
        settled(error);
      },
    );
  };
}

/** Looked up by their labels once for each type, not for each event. */
function metricsByType({ eventsPublished, eventPublishDuration }: Metrics) {
  const made = (type: string) => ({
    confirmed: eventsPublished.labels({ type, outcome: 'confirmed' }),
    failed: eventsPublished.labels({ type, outcome: 'failed' }),
    duration: eventPublishDuration.labels({ type }),
  });
  const known = new Map<string, ReturnType<typeof made>>();
  return (type: string) => {
    const metrics = known.get(type) ?? made(type);
    known.set(type, metrics);
    return metrics;
  };
}
