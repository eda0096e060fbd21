// Publishes one event of the outbox; used by PUBLISHING and by ISOLATING.
import { CONTENT_TYPE } from '@warren/events';
import type { PublishError, Publisher } from '../messaging/publisher.ts';
import { EVENTS } from '../messaging/topology.ts';
import type { Row } from './reader.ts';

/** Events in flight, at most. */
export const IN_FLIGHT_LIMIT = 1_000;
/** Rows of one read, at most. */
export const READ_LIMIT = 500;
/** Bytes of the events in flight, and of one read; the last event may exceed them. */
export const BYTES_LIMIT = 8 * 1024 * 1024;

/** What the relay reports of its work; a service counts it. */
export interface RelayHooks {
  /**
   * An event was confirmed, failed (the relay tries again), or was parked: the broker will never accept it.
   * @param seconds from the publish to its confirm; 0 when it was parked
   */
  onPublished(type: string, outcome: 'confirmed' | 'failed' | 'parked', seconds: number): void;
  /** No queue took an event of this type. */
  onUnconsumed(type: string): void;
}

/** Publishes an event, and reports it. `settled` is called once: without an error when it is confirmed. */
export type PublishRow = (publisher: Publisher, row: Row, settled: (error?: PublishError) => void) => void;

export function rowPublisher(options: { service: string; user: string; hooks: RelayHooks }): PublishRow {
  const { service, user, hooks } = options;
  return (publisher, row, settled) => {
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
        const seconds = (performance.now() - started) / 1_000;
        hooks.onPublished(row.type, error === undefined ? 'confirmed' : 'failed', seconds);
        settled(error);
      },
    );
  };
}
